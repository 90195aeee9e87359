// The caption panel. Python sends `entry`, the file that was opened, `fresh`, the opened file as it is now, and
// `answer`, the result of an action; see captioner/ui/gallery/panel.py.
import * as edits from './edit.js';
import { edit, isDirty, keepDraft, keyOf, unsavedEdit } from './edit.js';
import { focusGrid, openedFile, step } from './listing.js';
import * as view from './panel_view.js';

const MAC = /Mac|iPad|iPhone/.test(navigator.platform);
const CONSENT = '.panel-consent', CONFIRM = '.panel-confirm', GUESS = '.panel-guess';
let element, props, trigger, box;
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  box = $('textarea');
  edits.startEdit(box);
  view.startView(element);
  element.addEventListener('click', click);
  box.addEventListener('input', changed);
  box.addEventListener('keydown', event => { if (event.key === 'Escape') focusGrid(); });
  document.addEventListener('keydown', pressOnPage);
  gradio.watch('answer', answered);
  gradio.watch('entry', opened);
  gradio.watch('fresh', refreshed);
  view.showEdit();
  if (props.entry.id) opened(); // it came before this module
}

// ---- what Python sends ----
function opened() {
  const { entry } = props, wanted = keyOf(openedFile()), left = unsavedEdit();
  if (keyOf(entry) !== wanted || wanted === keyOf(edit.file)) return; // of quick clicks, the last one counts
  if (left) { keepDraft(); if (!edit.file.doubt) trigger('save', left); } // a guess is saved only when asked for
  edits.openFile(entry);
  view.showFile(true);
  view.showQuestion(CONFIRM, false);
  view.showQuestion(CONSENT, false);
  view.showQuestion(GUESS, false);
  follow(entry);
  if (matchMedia('(max-width: 760px)').matches) element.scrollIntoView({ behavior: 'smooth' }); // it is below the grid
}

function refreshed() {
  const { fresh } = props;
  if (keyOf(fresh) !== keyOf(edit.file)) return; // a late pulse about the file before
  if (fresh.id) follow(fresh);
  else if (edit.file.id) lose();
}

// The text that was saved comes first, then the file as it is after the action. A pulse may have been faster and have
// brought that text while it still was an edit.
function answered() {
  const { saved, fresh } = props.answer;
  if (saved) {
    if (edits.takeSaved(saved)) view.showEdit();
    keepDraft();
  }
  if (fresh && keyOf(fresh) === keyOf(edit.file)) follow(fresh);
}

// Take over the state of the file that is already open.
function follow(file) {
  const isReplaced = file.id !== edit.file.id || file.version !== edit.file.version;
  edits.updateFile(file);
  props.value = JSON.stringify(edits.fileAddress(file));
  if (isReplaced) view.showMedia();
  view.showTexts();
  changed();
}

function lose() {
  if (isDirty()) {
    view.showProblem('The folder of this file was closed. Your text is kept until you open it again.');
    return;
  }
  edits.closeFile();
  props.value = '';
  view.showFile(false);
}

// ---- what a person does ----
function changed() {
  view.showEdit();
  keepDraft();
}

// Fire an event about the opened file, with the edit if there is one.
function fire(name, data) {
  trigger(name, { ...edits.fileAddress(edit.file), edit: unsavedEdit(), ...data });
}

// Typed as by a person, so that Ctrl+Z in the box brings back the text before.
function write(text) {
  box.focus();
  box.select();
  if (!document.execCommand('insertText', false, text)) box.value = text;
  changed();
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
  fire('again', { consent });
}

// End a conflict: the file's text becomes what the edit began with.
function settle() {
  edit.base = edit.theirs;
  edit.theirs = null;
}

const actions = {
  copy,
  save() {
    const unsaved = unsavedEdit();
    if (edit.file.doubt) view.showQuestion(GUESS, true);
    else if (unsaved) trigger('save', unsaved);
  },
  'save-yes'() {
    view.showQuestion(GUESS, false);
    trigger('save', { ...edits.fileAddress(edit.file), text: box.value, expected: edit.base, consent: true });
  },
  'save-no': () => view.showQuestion(GUESS, false),
  undo() {
    if (isDirty()) write(edits.withLineFeeds(edit.base));
    else fire('restore', { history: edit.file.undo });
  },
  approve() { if (!$('[data-act=approve]').disabled) fire('approve', { on: !edit.file.approved }); },
  history: () => view.showHistory($('.panel-history').hidden),
  again: () => (edit.file.changed_outside ? view.showQuestion(CONSENT, true) : recaption(false)),
  'again-yes': () => recaption(true),
  'again-no': () => view.showQuestion(CONSENT, false),
  delete: () => view.showQuestion(CONFIRM, true),
  'delete-no': () => view.showQuestion(CONFIRM, false),
  'delete-yes'() {
    view.showQuestion(CONFIRM, false);
    fire('remove', {}); // the draft stays until the answer says that it is in the history
  },
  theirs() { settle(); write(edit.base); },
  mine() { settle(); changed(); box.focus(); },
};

function click(event) {
  const { act, step: by, history } = event.target.closest('button')?.dataset ?? {};
  if (act) actions[act]();
  else if (by) step(Number(by));
  else if (history) fire('restore', { history: Number(history) });
}

function pressOnPage(event) {
  if (!element.offsetParent || !edit.file.id) return; // no offsetParent: another tab
  if (document.querySelector('dialog[open], :popover-open')) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key], isControl = event.ctrlKey || event.metaKey;
  if (by && MAC && event.target.closest('input, textarea')) return; // there it moves by a word
  if (event.key.toLowerCase() === 's' && isControl && !event.altKey) actions.save();
  else if (event.key === 'Enter' && isControl) actions.approve();
  else if (event.altKey && by) step(by);
  else return;
  event.preventDefault();
}
