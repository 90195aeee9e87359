// The text in the caption panel's editor. An edit that is not saved lives here and in sessionStorage.
const STORED = 'vcs-drafts';
// file: what Python says of the opened file; base: the text that the edit began with, as the file has it;
// theirs: what the file holds now, if that is neither the base nor the text in the editor.
export const edit = { file: { id: '' }, base: '', theirs: null };
const drafts = JSON.parse(sessionStorage.getItem(STORED) || '{}');
let box = null;

export function startEdit(textarea) {
  box = textarea;
}

export const keyOf = file => `${file.folder}\n${file.name}`;
export const fileAddress = ({ id, folder, name }) => ({ id, folder, name });
export const withLineFeeds = text => text.replace(/\r\n?/g, '\n'); // as a text box holds it
export const isDirty = () => box.value !== withLineFeeds(edit.base);

// What Python needs to save the edit; null if there is nothing to save.
export function unsavedEdit() {
  if (!edit.file.id || !isDirty()) return null;
  return { ...fileAddress(edit.file), text: box.value, expected: edit.base };
}

export function keepDraft() {
  if (edit.file.id && isDirty()) drafts[keyOf(edit.file)] = { text: box.value, base: edit.base };
  else delete drafts[keyOf(edit.file)];
  sessionStorage.setItem(STORED, JSON.stringify(drafts));
}

// Take over another file, with its draft if there is one.
export function openFile(file) {
  const draft = drafts[keyOf(file)] ?? { text: file.text, base: file.text };
  edit.file = file;
  edit.base = draft.base;
  box.value = draft.text;
}

export function closeFile() {
  edit.file = { id: '' };
  edit.base = box.value = '';
}

// Take over the same file as it is now. An edit stays, and a text that somebody else wrote meanwhile becomes `theirs`.
export function updateFile(file) {
  edit.file = file;
  if (!isDirty()) edit.base = box.value = file.text;
  else if ([box.value, withLineFeeds(edit.base)].includes(withLineFeeds(file.text))) edit.base = file.text;
  edit.theirs = isDirty() && file.text !== edit.base ? file.text : null;
}

// Take over that `sent` was saved as `text`. Returns whether that was the opened file.
export function takeSaved({ sent, text, ...saved }) {
  const key = keyOf(saved), isOpen = key === keyOf(edit.file);
  if (drafts[key]?.text === sent) delete drafts[key];
  if (isOpen && box.value === sent) box.value = text;
  if (isOpen) edit.base = text;
  return isOpen;
}
