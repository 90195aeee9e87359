// The caption panel. Python sends `entry`, the file that was opened, `fresh`, the opened file as it is now, and
// `answer`, the result of an action; see captioner/ui/gallery/panel.py.
import { focusGrid, openedFile, step } from './actions.js';
import {
  closeFile, edit, fileAddress, isDirty, keepDraft, keyOf, openFile, startEdit, takeSaved, unsavedEdit, updateFile,
  withLineFeeds,
} from './edit.js';
import * as view from './panel_view.js';
import { startWidth } from './panel_width.js';

const MAC = /Mac|iPad|iPhone/.test(navigator.platform);
const CONSENT = '.panel-consent', CONFIRM = '.panel-confirm';
let element, props, trigger, box;
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  box = $('textarea');
  startEdit(box);
  view.startView(element);
  startWidth(element);
  element.addEventListener('click', click);
  box.addEventListener('input', changed);
  box.addEventListener('keydown', event => { if (event.key === 'Escape') focusGrid(); });
  document.addEventListener('keydown', pressOnPage);
  for (const [name, take] of [['answer', answered], ['entry', opened], ['fresh', refreshed]]) gradio.watch(name, take);
  view.showEdit();
  if (props.entry.id) opened(); // it came before this module
}

// ---- what Python sends ----
function opened() {
  const wanted = keyOf(openedFile());
  if (keyOf(props.entry) !== wanted || wanted === keyOf(edit.file)) return; // of quick clicks, the last one counts
  show(props.entry);
  if (matchMedia('(max-width: 760px)').matches) element.scrollIntoView({ behavior: 'smooth' }); // it is below the grid
}

function refreshed() {
  const { fresh } = props;
  if (keyOf(fresh) !== keyOf(edit.file)) return; // a late pulse about the file before
  if (fresh.id) follow(fresh);
  else lose();
}

// The text that was saved comes first, then the file as it is after the action. A pulse may have been faster and have
// brought that text while it still was an edit.
function answered() {
  const { saved, fresh } = props.answer;
  if (saved) {
    if (takeSaved(saved)) view.showEdit();
    keepDraft();
  }
  if (fresh && keyOf(fresh) === keyOf(edit.file)) follow(fresh);
}

function show(file) {
  const left = unsavedEdit();
  if (left) { keepDraft(); trigger('save', left); }
  openFile(file);
  view.showFile(true);
  view.showQuestion(CONFIRM, false);
  view.showQuestion(CONSENT, false);
  follow(file);
}

// Take over the state of the file that is already open.
function follow(file) {
  const isReplaced = file.id !== edit.file.id || file.version !== edit.file.version;
  updateFile(file);
  props.value = JSON.stringify(fileAddress(file));
  if (isReplaced) view.showMedia();
  view.showTexts();
  changed();
}

function lose() {
  if (!edit.file.id) return;
  if (isDirty()) {
    view.showProblem('The folder of this file was closed. Your text is kept until you open it again.');
    return;
  }
  closeFile();
  props.value = '';
  view.showFile(false);
}

// ---- what a person does ----
function changed() {
  view.showEdit();
  keepDraft();
}

// Fire an event about the opened file.
const fire = (name, data) => trigger(name, { ...fileAddress(edit.file), ...data });

function save() {
  const unsaved = unsavedEdit();
  if (unsaved) trigger('save', unsaved);
}

// Typed as by a person, so that Ctrl+Z in the box brings back the text before.
function write(text) {
  box.focus();
  box.select();
  if (!document.execCommand('insertText', false, text)) box.value = text;
  changed();
}

function undo() {
  if (isDirty()) write(withLineFeeds(edit.base));
  else fire('restore', { history: edit.file.undo });
}

async function copy() {
  try {
    await navigator.clipboard.writeText(box.value);
  } catch { // a page without HTTPS has no clipboard
    box.select();
    document.execCommand('copy');
  }
  view.flashCopied();
}

function recaption(consent) {
  view.showQuestion(CONSENT, false);
  fire('again', { consent, edit: unsavedEdit() });
}

function approve() {
  if (!$('[data-act=approve]').disabled) fire('approve', { on: !edit.file.approved, edit: unsavedEdit() });
}

function remove() {
  view.showQuestion(CONFIRM, false);
  fire('remove', { edit: unsavedEdit() }); // the draft stays until the answer says that it is in the history
}

function useTheirs() {
  const text = edit.theirs;
  edit.base = text;
  edit.theirs = null;
  write(text);
}

function keepMine() {
  edit.base = edit.theirs;
  edit.theirs = null;
  changed();
  box.focus();
}

const actions = {
  save, undo, copy, approve,
  history: () => view.showHistory($('.panel-history').hidden),
  again: () => (edit.file.changed_outside ? view.showQuestion(CONSENT, true) : recaption(false)),
  'again-yes': () => recaption(true),
  'again-no': () => view.showQuestion(CONSENT, false),
  delete: () => view.showQuestion(CONFIRM, true),
  'delete-no': () => view.showQuestion(CONFIRM, false),
  'delete-yes': remove,
  theirs: useTheirs,
  mine: keepMine,
};

function click(event) {
  const button = event.target.closest('button');
  if (!button) return;
  const { act, step: by, history } = button.dataset;
  if (act) actions[act]();
  else if (by) step(Number(by));
  else if (history) fire('restore', { history: Number(history), edit: unsavedEdit() });
}

function pressOnPage(event) {
  if (!element.offsetParent || !edit.file.id) return; // no offsetParent: another tab
  if (document.querySelector('dialog[open], :popover-open')) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && MAC && event.target.closest('input, textarea')) return; // there it moves by a word
  if (event.key.toLowerCase() === 's' && (event.ctrlKey || event.metaKey) && !event.altKey) save();
  else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) approve();
  else if (event.altKey && by) step(by);
  else return;
  event.preventDefault();
}
