// The dialog that edits many captions. Python sends `preview`, what an edit would do, and `done`, the result of the
// last action; see captioner/ui/runs/bulk.py.
import { showMessage } from './history.js';
import { make, number, plural } from '../common.js';
import { onButton } from '../gallery/buttons.js';
import { asRanges, list } from '../gallery/files.js';

const TYPING_MS = 180;
const HINTS = {
  empty: ['What should change?', 'Fill in a field on the left. A preview appears here before anything is changed.'],
  same: ['Nothing would change', 'None of these captions contains what you are looking for.'],
  wrong: ['No preview', 'Correct the marked field on the left.'],
  none: ['No captions here', 'These files have no captions yet. Caption them first, or select other files.'],
};
let element, props, trigger, dialog, form;
let files = '', operation = 0, isUndone = false, isBusy = false; // operation: of the edit that was applied, or 0
let found = null, numPreviews = 0, typing = 0, isAwaited = false; // found: the preview; typing: a timer
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  element.addEventListener('click', event => {
    const toggle = event.target.closest('[aria-pressed]'), hit = event.target.closest('[data-act]');
    if (toggle) { toggle.setAttribute('aria-pressed', !isPressed(toggle.name)); changed(); }
    if (hit) actions[hit.dataset.act]();
  });
  gradio.watch('preview', previewed);
  gradio.watch('done', finished);
  onButton('edit', () => open());
}

// The dialog comes when it is opened first: until then the page is lighter without it.
function build() {
  element.append($('template').content.cloneNode(true));
  [dialog, form] = [$('dialog'), $('form')];
  form.addEventListener('submit', event => event.preventDefault());
  form.addEventListener('input', changed);
  render();
}

const actions = {
  close: () => dialog.close(),
  apply: () => act('apply', { files, edit: edit() }),
  undo: () => act(isUndone ? 'redo' : 'undo', { id: operation }),
};

// Open the dialog for the shown files, whatever is selected. find: a regular expression.
export function openWith(find) {
  if (!dialog) build();
  form.reset();
  form.elements.find.value = find;
  for (const name of ['regex', 'match_case']) form.elements[name].setAttribute('aria-pressed', name === 'regex');
  open(true);
  form.elements.replace.focus();
}

function open(isOfShown = false) {
  if (!dialog) build();
  [files, $('.bulk-scope').textContent] = scope(isOfShown);
  isBusy = false;
  form.elements.delete.checked = false;
  changed();
  dialog.showModal();
  form.elements.find.focus();
  form.elements.find.select();
}

const isPressed = name => form.elements[name].getAttribute('aria-pressed') === 'true';

function edit() {
  const { find, replace, prefix, suffix, trim_openers: trim, delete: remove } = form.elements;
  if (remove.checked) return { delete: true };
  const texts = { find: find.value, replace: replace.value, prefix: prefix.value, suffix: suffix.value };
  return { ...texts, regex: isPressed('regex'), match_case: isPressed('match_case'), trim_openers: trim.checked };
}

const isEmpty = ({ regex, match_case: matchCase, ...changes }) => !Object.values(changes).some(Boolean);

function changed() {
  operation = 0;
  $('.dialog-message').textContent = '';
  clearTimeout(typing);
  numPreviews++;
  isAwaited = !isEmpty(edit());
  if (isAwaited) typing = setTimeout(() => trigger('preview', { number: numPreviews, files, edit: edit() }), TYPING_MS);
  else found = null;
  render();
}

function act(name, data) {
  isBusy = true;
  render();
  trigger(name, data);
}

// ---- what Python sends ----
function previewed() {
  if (props.preview.number !== numPreviews) return; // the form has changed since
  found = props.preview;
  isAwaited = false;
  render();
}

function finished() {
  const { done } = props;
  if (!done.number) return;
  isBusy = false;
  showMessage($('.dialog-message'), done);
  if (!done.bad) { operation = done.operation; isUndone = done.undone; }
  render();
  if (operation) $('[data-act=undo]').focus();
}

// ---- what is shown ----
function render() {
  const empty = isEmpty(edit()), result = empty ? null : found, count = result?.num_changed ?? 0;
  const why = empty ? 'empty' : result?.problem ? 'wrong' : result && !result.total_with_text ? 'none' : 'same';
  $('.bulk-problem').textContent = result?.problem ?? '';
  $('.bulk-preview').setAttribute('aria-busy', isAwaited);
  $('fieldset').disabled = form.elements.delete.checked;
  if (!isAwaited || empty) showPreview(result, count);
  $('.bulk-hint').hidden = count > 0 || (isAwaited && !empty);
  [$('.bulk-hint b').textContent, $('.bulk-hint p').textContent] = HINTS[why];
  showButtons(count);
}

function showPreview(result, count) {
  const rows = (result?.changed ?? []).map(row), more = count - rows.length;
  if (more > 0) rows.push(make('li', { className: 'bulk-more' }, `and ${number(more)} more`));
  $('.bulk-counts').textContent = result?.counts ?? '';
  $('.bulk-list').replaceChildren(...rows);
}

// parts: [kind, text], where the kind is "del", "ins" or "" for what stays.
function row({ name, parts, changed_outside: changedOutside }) {
  const label = changedOutside ? `${name} · changed outside` : name;
  const marked = parts.map(([kind, text]) => (kind ? make(kind, {}, text) : text));
  return make('li', {}, make('b', { title: label }, label), make('p', {}, ...marked));
}

function showButtons(count) {
  const isDeleting = form.elements.delete.checked, verb = isDeleting ? 'Delete' : 'Change';
  const apply = $('[data-act=apply]'), undo = $('[data-act=undo]');
  apply.textContent = count && !operation ? `${verb} ${plural(count, 'caption')}` : `${verb} captions`;
  apply.classList.toggle('danger', isDeleting);
  apply.disabled = !count || Boolean(isAwaited || operation || isBusy);
  undo.hidden = !operation;
  undo.disabled = isBusy;
  undo.textContent = isUndone ? 'Redo' : 'Undo';
}

// The files that an edit is about, as a value of the grid, and a line about them.
function scope(isOfShown) {
  const { shown, count, scan } = list, numSelected = isOfShown ? 0 : list.numSelected;
  const total = numSelected || shown.length, chosen = new Uint8Array(count);
  for (const i of shown) chosen[i] = 1;
  const selected = asRanges(numSelected ? list.selected : chosen);
  const which = numSelected ? 'selected ' : shown.length < count ? 'shown ' : 'all ';
  const line = which === 'all ' ? `In all ${plural(total, 'file')}` : `In ${plural(total, `${which}file`)}`;
  return [JSON.stringify({ scan, selected, total }), line];
}
