// The Prompts tab in the browser.
const parsed = text => JSON.parse(text || '{}');

// `before`: {name, text} as the editor was filled; marks the editor while it holds something else.
function mark(before, name, text) {
  const was = parsed(before), desk = document.getElementById('prompts');
  if (desk) desk.dataset.dirty = 'name' in was && (was.name !== name || was.text !== text) ? '1' : '';
}

const boxes = () => document.querySelectorAll('#prompt-name input, #prompt-text textarea');

// From a click to its answer, which fills the editor anew, the editor takes no text: it would be lost.
function hold(...values) {
  for (const box of boxes()) box.readOnly = true;
  return values;
}

function release() {
  for (const box of boxes()) box.readOnly = false;
}

// Put a variable where the cursor is.
function insert(variable) {
  const box = document.querySelector('#prompt-text textarea');
  if (!box || box.disabled || box.readOnly) return;
  box.setRangeText(`{${variable}}`, box.selectionStart, box.selectionEnd, 'end');
  box.dispatchEvent(new Event('input', {bubbles: true}));
  box.focus();
}

function download(text) {
  if (!text) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'application/json'}));
  link.download = 'prompts.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The list, which is `element` here: fires `pick` with the name, "" for a new prompt. What was typed and not saved is
// only given up after a question.
function listen(element, trigger) {
  const dialog = element.querySelector('[popover]');
  let wanted = '';
  element.addEventListener('click', event => {
    const answer = event.target.closest('.answers button'), hit = event.target.closest('[data-pick]');
    if (answer) dialog.hidePopover();
    if (answer?.matches('.yes')) trigger('pick', {id: wanted});
    if (!hit) return;
    wanted = hit.dataset.pick;
    if (document.getElementById('prompts').dataset.dirty) dialog.showPopover();
    else trigger('pick', {id: wanted});
  });
}
