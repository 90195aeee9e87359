// The Prompts tab in the browser.
import { keepOverReload, make } from '../common.js';

const tab = () => document.getElementById('prompts');
let shown = null; // {filled, name, text, search}, once the editor is filled
let typed = null; // the name and the text typed since the editor was filled: Gradio calls `mark` a moment later

shown = keepOverReload('prompt', () => shown && { ...shown, ...typed });

// What was shown when the page was left, for Python, or "".
export const shownBefore = () => (shown ? JSON.stringify(shown) : '');

// filled: {name, text}, what the editor was filled with. Marks the editor while it holds something else.
export function mark(filled, name, text, search) {
  const before = JSON.parse(filled || '{}');
  if ('name' in before) {
    shown = { filled: before, name, text, search };
    typed ??= {};
  }
  showDirty();
}

function showDirty() {
  const { filled, name, text } = { ...shown, ...typed };
  if (tab()) tab().dataset.dirty = typed && (filled.name !== name || filled.text !== text) ? '1' : '';
}

function keepTyped({ target }) {
  const part = ['name', 'text'].find(each => target.closest(`#prompt-${each}`));
  if (!part || !typed) return;
  typed[part] = target.value;
  showDirty();
}

function setReadOnly(isReadOnly) {
  const boxes = document.querySelectorAll('#prompt-name input, #prompt-text textarea');
  for (const box of boxes) box.readOnly = isReadOnly;
}

// From a click until the answer, which fills the editor again, the editor takes no text: it would be lost.
export function lockEditor(...values) {
  setReadOnly(true);
  typed &&= {};
  return values;
}

export const unlockEditor = () => setReadOnly(false);

export function download(text) {
  if (!text) return;
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  make('a', { href: url, download: 'prompts.json' }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export function startVariables({ element }) {
  element.addEventListener('click', event => {
    const hit = event.target.closest('[data-insert]'), box = document.querySelector('#prompt-text textarea');
    if (!hit || !box || box.disabled || box.readOnly) return;
    box.setRangeText(`{${hit.dataset.insert}}`, box.selectionStart, box.selectionEnd, 'end');
    box.dispatchEvent(new Event('input', { bubbles: true }));
    box.focus();
  });
}

// The list of prompts. Fires `pick` with the name, or "" for a new prompt; asks first if an edit would be lost.
export function startList({ element, trigger }) {
  const dialog = element.querySelector('[popover]');
  let wanted = '';
  tab().addEventListener('input', keepTyped);
  element.addEventListener('click', event => {
    const answer = event.target.closest('.answers button'), hit = event.target.closest('[data-pick]');
    if (answer) dialog.hidePopover();
    if (hit) wanted = hit.dataset.pick;
    if (hit && tab().dataset.dirty) dialog.showPopover();
    else if (hit || answer?.matches('.yes')) trigger('pick', { id: wanted });
  });
}
