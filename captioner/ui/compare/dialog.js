// The dialog of comparisons. Python sends `shown`, the view with all that it shows, and `message`, the last outcome;
// see captioner/ui/compare/handlers.py.
import { dateTime, make } from '../common.js';
import { clearBallot, pressKey, showBallot } from './ballot.js';
import { showResult } from './result.js';

const REFRESH_MS = 1000; // while captions are written
const MAX_CONTENDERS = 6;
const TITLES = { home: 'Compare', vote: 'Which caption is best?', result: 'Result' };
let element, props, trigger, dialog;
let busy = false, refreshing = 0;
let asked = 0, deleted = 0; // the comparison whose row asks whether to delete it, and the one that was
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  dialog = $('dialog');
  element.addEventListener('click', event => {
    const button = event.target.closest('[data-act]');
    if (button && !button.disabled) actions[button.dataset.act](button);
    else if (event.target === dialog) dialog.close(); // a click on the backdrop
  });
  dialog.addEventListener('keydown', event => { if (props.shown.view === 'vote') pressKey(event, actions); });
  dialog.addEventListener('close', () => { clearInterval(refreshing); refreshing = 0; clearBallot($('.compare-media')); });
  $('form').addEventListener('submit', event => event.preventDefault());
  gradio.watch('shown', show);
  gradio.watch('message', showMessage);
}

// One at a time, so that no key is taken for a vote on the file after the one it was meant for.
function send(name, data = {}) {
  if (busy) return;
  busy = true;
  trigger(name, data);
}

const here = () => ({ number: props.shown.number });

function vote(pick) {
  const { number, file, key } = props.shown;
  send('vote', { number, file, key, pick });
}

const actions = {
  open() {
    if (!$('.compare-contenders').children.length) addContenders(2);
    busy = false;
    asked = deleted = 0;
    trigger('reload', {});
    dialog.showModal();
    dialog.focus();
    refreshing ||= setInterval(() => {
      if (props.shown.view === 'home' && props.shown.running) trigger('reload', {});
    }, REFRESH_MS);
  },
  close: () => dialog.close(),
  add: () => { addContenders(1); $('.compare-contenders').lastChild.querySelector('input').focus(); },
  remove: button => { button.closest('li').remove(); countContenders(); },
  create: () => send('create', { contenders: contenders(), files: $('[name=files]').value }),
  stop: () => send('stop'),
  resume: button => send('resume', { number: Number(button.dataset.number) }),
  ballot: button => send('ballot', { number: Number(button.dataset.number) }),
  result: button => send('result', { number: Number(button.dataset.number) }),
  ask: button => { asked = Number(button.dataset.number); showRows(); $('[data-act=keep]').focus(); },
  keep: () => { const number = asked; asked = 0; showRows(); focusRow('ask', number); },
  delete: button => send('delete', { number: Number(button.dataset.number) }),
  restore: () => send('restore', { number: deleted }),
  back: () => send('reload'),
  more: () => send('ballot', here()),
  undo: () => { if (props.shown.undo) send('undo', here()); },
  skip: () => vote(null),
  tie: () => vote(0),
  pick: button => vote(Number(button.dataset.pick)),
  votes: () => send('votes', here()),
  use: button => send('use', { ...here(), contender: Number(button.dataset.index) }),
};

function show() {
  const { shown } = props;
  if (!shown.view) return;
  busy = false;
  dialog.dataset.view = shown.view;
  $('h3').textContent = TITLES[shown.view];
  for (const part of element.querySelectorAll('footer [data-in]')) part.hidden = !part.dataset.in.split(' ').includes(shown.view);
  if (shown.view !== 'vote') clearBallot($('.compare-media'));
  views[shown.view](shown);
}

const views = {
  home(shown) {
    $('.compare-about').textContent = shown.folder ? `${shown.files.toLocaleString('en')} files in ${shown.folder}` : 'Open a folder in the Gallery first.';
    $('[data-act=create]').disabled = !shown.files || Boolean(shown.running);
    if (shown.created) { $('.compare-contenders').replaceChildren(); addContenders(2); }
    fillChoices();
    if (shown.deleted) { asked = 0; ({ deleted } = shown); }
    if (shown.rows.some(row => row.number === deleted)) deleted = 0; // it was restored
    showRows();
    $('[data-act=restore]').hidden = !deleted;
    if (!dialog.contains(document.activeElement)) dialog.focus();
  },
  vote(shown) {
    $('.compare-about').textContent = `${shown.done + 1} of ${shown.total} · ${shown.file}`;
    $('[data-act=undo]').disabled = !shown.undo;
    $('.compare-keys').textContent = `Keys: 1 to ${shown.texts.length} pick, 0 tie, S skip, U undo, Space play`;
    showBallot($('.compare-media'), $('.compare-texts'), shown);
    dialog.focus(); // the button that had it is gone
  },
  result(shown) {
    $('.compare-about').textContent = `Comparison ${shown.number}`;
    $('[data-act=more]').hidden = !shown.open;
    $('.compare-summary').textContent = shown.summary;
    $('.compare-counts').textContent = shown.counts && `Files: ${shown.counts}`;
    showResult($('.compare-rows'), shown.rows);
    if (shown.votes !== undefined) download(shown.votes, `votes of comparison ${shown.number}.jsonl`);
    if (!dialog.contains(document.activeElement)) dialog.focus();
  },
};

// The rows are drawn again each second while captions are written; the button that has the focus keeps it.
function showRows() {
  const { act, number } = $('.compare-list button:focus')?.dataset ?? {};
  $('.compare-list').replaceChildren(...props.shown.rows.map(drawRow));
  $('.compare-none').hidden = props.shown.rows.length > 0;
  if (act) focusRow(act, number);
}

const focusRow = (act, number) => $(`.compare-list [data-act=${act}][data-number="${number}"]`)?.focus();

function showMessage() {
  busy = false;
  const message = $('.dialog-message');
  message.textContent = props.message.text ?? '';
  message.classList.toggle('bad', Boolean(props.message.bad));
}

function addContenders(count) {
  for (let i = 0; i < count; i++) {
    const name = make('input', { type: 'text', name: 'name', placeholder: 'Name (optional)', maxLength: 60, ariaLabel: 'Name' });
    const model = make('select', { name: 'model', ariaLabel: 'Model' }), prompt = make('select', { name: 'prompt_name', ariaLabel: 'Prompt' });
    const more = make('input', { type: 'text', name: 'more', placeholder: 'Other settings: temperature=0.7', ariaLabel: 'Other settings', spellcheck: false });
    const remove = make('button', { type: 'button', className: 'plain', ariaLabel: 'Remove this contender', title: 'Remove' }, '×');
    remove.dataset.act = 'remove';
    $('.compare-contenders').append(make('li', {}, name, model, prompt, more, remove));
  }
  fillChoices();
  countContenders();
}

function countContenders() {
  const { length } = $('.compare-contenders').children;
  $('[data-act=add]').disabled = length >= MAX_CONTENDERS;
  for (const button of element.querySelectorAll('[data-act=remove]')) button.disabled = length <= 2;
}

// Fill the lists that are empty or old, and keep what is chosen.
function fillChoices() {
  const { models = [], prompts = [] } = props.shown;
  fill('model', [['', 'Model of the settings'], ...models]);
  fill('prompt_name', [['', 'Prompt of the settings'], ...prompts.map(name => [name, name])]);
}

function fill(name, choices) {
  const key = JSON.stringify(choices);
  for (const list of element.querySelectorAll(`select[name=${name}]`)) {
    if (list.dataset.key === key) continue;
    const { value } = list;
    list.replaceChildren(...choices.map(([id, title]) => make('option', { value: id }, title)));
    list.dataset.key = key;
    list.value = choices.some(([id]) => id === value) ? value : '';
  }
}

const contenders = () => [...$('.compare-contenders').children].map(row =>
  Object.fromEntries([...row.querySelectorAll('[name]')].map(field => [field.name, field.value])));

function drawRow(row) {
  const button = (act, label, className = 'plain') => {
    const made = make('button', { type: 'button', className }, label);
    Object.assign(made.dataset, { act, number: row.number });
    return made;
  };
  const text = make('div', {}, make('b', {}, `${row.number} · ${row.folder}`),
    make('p', {}, make('time', {}, dateTime(row.when)), ` · ${row.about} · ${row.state}`));
  if (row.left) text.append(make('p', { className: 'compare-why' }, `${row.left.toLocaleString('en')} captions are missing`));
  if (row.problem) text.append(make('p', { className: 'compare-why' }, row.problem));
  const acts = make('div', { className: 'compare-acts' });
  if (asked === row.number) {
    text.append(make('p', { className: 'compare-why', role: 'alert' }, 'Delete this comparison with its captions and votes?'));
    acts.append(button('delete', 'Delete', 'plain danger'), button('keep', 'Keep'));
    return listItem(row, text, acts);
  }
  if (row.running) acts.append(button('stop', 'Stop'));
  if (row.left) acts.append(button('resume', 'Resume'));
  if (row.voted || (!row.running && !row.open)) acts.append(button('result', 'Result'));
  if (!row.running) acts.append(button('ask', 'Delete…'));
  if (row.open) acts.append(button('ballot', 'Vote', 'plain primary'));
  return listItem(row, text, acts);
}

function listItem(row, text, acts) {
  const item = make('li', {}, text, acts);
  item.dataset.number = row.number;
  return item;
}

function download(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/jsonl' }));
  make('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
