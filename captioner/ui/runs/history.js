// The dialog of the history. Python sends `rows`, the jobs and bulk edits, and `result`, that of the last action;
// see captioner/ui/runs/history.py.
import { capitalize, dateTime, make, plural } from '../common.js';
import { onButton } from '../gallery/buttons.js';

const REFRESH_MS = 2000; // while the dialog is open
const ICONS = { job: 'M5 3.2v9.6L12.6 8z', bulk: 'M11 1.8 14.2 5 5.4 13.8l-3.9.7.7-3.9z' };
const QUESTIONS = { undo: captions => `Restore ${captions}?`, redo: captions => `Redo ${captions}?` };
let element, props, trigger, dialog, list;
let asking = 0, drawn = '', refreshing = 0; // asking: the id of the row that shows a question
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  [dialog, list] = [$('dialog'), $('.history-list')];
  element.addEventListener('click', event => {
    const hit = event.target.closest('[data-act]');
    if (hit) actions[hit.dataset.act](Number(hit.dataset.id));
    else if (event.target === dialog) dialog.close(); // a click on the backdrop
  });
  dialog.addEventListener('close', () => { clearInterval(refreshing); refreshing = 0; });
  gradio.watch('rows', show);
  gradio.watch('result', showResult);
  onButton('operations', open);
  show();
}

const actions = {
  close: () => dialog.close(),
  ask(id) { showQuestion(id); list.querySelector(`[data-id="${id}"].go`)?.focus(); },
  no: () => showQuestion(0),
  undo(id) { showQuestion(0); trigger('undo', { id }); },
  redo(id) { showQuestion(0); trigger('redo', { id }); },
  resume: id => trigger('resume', { id }),
};

function open() {
  $('.dialog-message').textContent = '';
  showQuestion(0);
  trigger('reload', {});
  refreshing ||= setInterval(() => {
    if (dialog.open && document.visibilityState === 'visible') trigger('reload', {});
  }, REFRESH_MS);
  dialog.showModal();
}

function showQuestion(id) {
  asking = id;
  show();
}

function showResult() {
  if (props.result.text) showMessage($('.dialog-message'), props.result);
}

// Show the result {text, bad} of an action.
export function showMessage(message, { text, bad }) {
  message.textContent = text;
  message.classList.toggle('bad', Boolean(bad));
}

function show() {
  const { rows } = props, now = JSON.stringify([rows, asking]);
  if (now === drawn) return;
  drawn = now;
  const { id, act } = document.activeElement?.dataset ?? {}, isFocused = list.contains(document.activeElement);
  list.replaceChildren(...rows.map(draw));
  $('.history-none').hidden = rows.length > 0;
  list.hidden = !rows.length;
  if (!isFocused) return;
  const same = list.querySelector(`[data-id="${id}"][data-act=${act}]`) ?? list.querySelector(`[data-id="${id}"]`);
  (same ?? dialog.querySelector('[data-act=close]')).focus();
}

function draw(row) {
  const icon = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[row.kind]}"/></svg>`;
  const item = make('li', { className: 'history-row', innerHTML: icon });
  item.dataset.state = row.state;
  const folder = make('span', { title: row.folder }, row.name), when = make('time', {}, dateTime(row.when));
  const text = make('div', { className: 'history-text' }, make('b', { title: row.title }, row.title));
  text.append(make('p', {}, when, ' · ', folder, ` · ${row.counts}`));
  if (row.reason) text.append(make('p', { className: 'history-why', title: row.reason }, row.reason));
  const buttons = make('div', { className: 'history-acts' }, ...buttonsOf(row));
  item.append(text, make('em', { className: 'history-state' }, row.state), buttons);
  return item;
}

function buttonsOf(row) {
  const button = (label, act, className = 'plain') => {
    const made = make('button', { type: 'button', className }, label);
    Object.assign(made.dataset, { act, id: row.id });
    return made;
  };
  const name = row.act && capitalize(row.act);
  if (asking === row.id && row.act) {
    const question = make('span', {}, QUESTIONS[row.act](plural(row.changed, 'caption')));
    return [question, button('Cancel', 'no'), button(name, row.act, 'plain go')];
  }
  return [...(row.left ? [button('Resume', 'resume')] : []), ...(row.act ? [button(name, 'ask')] : [])];
}
