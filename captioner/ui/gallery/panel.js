// The caption panel. Python sends `entry`, the file that was opened, `fresh`, the opened file as it is now, and
// `answer`, the result of an action; see captioner/ui/gallery/panel.py.
import * as edits from './edit.js';
import { edit, isDirty, keepDraft, keyOf, unsavedEdit } from './edit.js';
import { focusText, hasFields, startFields, toggleWhole } from './fields.js';
import { enlarge } from './lightbox.js';
import { close as closeInGrid, focusGrid, openedFile, step } from './listing.js';
import * as view from './panel_view.js';
import { say, whisper } from './say.js';
import { followTrail, goAlong } from './trail.js';
import { plainName } from '../common.js';

const MAC = /Mac|iPad|iPhone/.test(navigator.platform);
const CONSENT = '.panel-consent', CONFIRM = '.panel-confirm', GUESS = '.panel-guess';
let element, props, trigger, box;
let reverted = null; // an edit that an undo took back
let isEditing = false; // the caption was asked for before its file has arrived
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  element.addEventListener('click', click);
  element.addEventListener('keydown', event => { if (event.key === 'Escape') escape(event); });
  document.addEventListener('keydown', pressOnPage);
  gradio.watch('answer', answered);
  gradio.watch('entry', opened);
  gradio.watch('fresh', refreshed);
  if (props.entry.id) opened(); // it came before this module
}

// The parts of the panel come with the first file that is opened: until then they would only cost memory.
function build() {
  element.append($('template').content.cloneNode(true));
  box = $('textarea');
  edits.startEdit(box);
  startFields($('.panel-editor'));
  view.startView(element);
  box.addEventListener('input', () => { reverted = null; changed(); });
}

// ---- what Python sends ----
function opened() {
  const { entry } = props, wanted = keyOf(openedFile());
  if (keyOf(entry) !== wanted || wanted === keyOf(edit.file)) return; // of quick clicks, the last one counts
  if (!box) build();
  leave();
  edits.openFile(entry);
  view.showFile(true);
  [CONFIRM, CONSENT, GUESS].forEach(question => view.showQuestion(question, false));
  follow(entry);
  if ($('.panel-editor').contains(document.activeElement?.closest('textarea')) || isEditing) editCaption();
}

// Save the file before. A guess is saved only when asked for. An edit that is on its way already is not written twice.
function leave() {
  const left = unsavedEdit();
  if (left) keepDraft();
  if (left && !edit.file.doubt) trigger('save', left);
  reverted = null;
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
    if (edits.takeSaved(saved)) {
      view.showEdit();
      view.flashSaved();
    } else say(`Saved ${plainName(saved.name)}`);
    keepDraft();
  }
  if (fresh && keyOf(fresh) === keyOf(edit.file)) follow(fresh);
}

// Take over the state of the file that is already open.
function follow(file) {
  const isReplaced = file.id !== edit.file.id || file.version !== edit.file.version;
  edits.updateFile(file);
  props.value = JSON.stringify({ ...edits.fileAddress(file), answer: props.answer.number });
  followTrail();
  if (isReplaced) view.showMedia();
  view.showTexts();
  changed();
}

function lose() {
  if (isDirty()) {
    view.showProblem('The folder of this file was closed. Your text is kept until you open it again.');
    return;
  }
  shut();
}

function shut() {
  edits.closeFile();
  props.value = '';
  view.showFile(false);
}

// ---- what a person does ----
function changed() {
  view.showEdit(reverted !== null);
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
  if (hasFields() || !document.execCommand('insertText', false, text)) box.value = text;
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

// Leave the file, which saves it, and give the room of the panel back to the grid.
export function closePanel() {
  isEditing = false;
  if (!edit.file.id) return;
  leave();
  shut();
  closeInGrid();
  focusGrid();
}

export function editCaption() {
  isEditing = !edit.file.id;
  if (!isEditing) focusText();
}

function escape(event) {
  const open = [GUESS, CONSENT, `${CONFIRM}:not(${CONSENT}, ${GUESS})`].find(question => !$(question).hidden);
  if (open) view.showQuestion(open, false);
  else closePanel();
  event.preventDefault();
  event.stopPropagation();
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

function restoreAlong(by) {
  const history = goAlong(by);
  if (history) fire('restore', { history });
}

// Approve the caption and open the next file. What needs an answer first is asked.
function approveAndGoOn() {
  const { file } = edit;
  if (edit.theirs !== null) return view.showConflict();
  if (file.doubt && isDirty()) return view.showQuestion(GUESS, true);
  if (!box.value.trim()) return say('There is no caption to approve');
  if (!file.approved || isDirty()) fire('approve', { on: true });
  const name = plainName(file.name);
  if (step(1)) whisper(`Approved ${name}`);
  else say(`Approved ${name}. There is no next file.`);
}

const actions = {
  copy,
  close: closePanel,
  next: approveAndGoOn,
  enlarge: () => enlarge(step),
  play: view.togglePlaying,
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
    if (!isDirty()) return restoreAlong(1);
    const text = box.value;
    write(edits.withLineFeeds(edit.base));
    reverted = text;
    changed();
  },
  redo() {
    if (reverted === null) return restoreAlong(-1);
    write(reverted);
  },
  approve() { if (!$('.panel-approve').disabled) fire('approve', { on: !edit.file.approved }); },
  history: () => view.showHistory($('.panel-history').hidden),
  again: () => (edit.file.changed_outside ? view.showQuestion(CONSENT, true) : recaption(false)),
  'again-yes': () => recaption(true),
  'again-no': () => view.showQuestion(CONSENT, false),
  'keep-old': () => fire('restore', { history: edit.file.compare.id }),
  'keep-new': view.keepNew,
  delete: () => view.showQuestion(CONFIRM, true),
  'delete-no': () => view.showQuestion(CONFIRM, false),
  'delete-yes'() {
    view.showQuestion(CONFIRM, false);
    fire('remove', {}); // the draft stays until the answer says that it is in the history
  },
  theirs() { settle(); write(edit.base); },
  mine() { settle(); changed(); focusText(); },
  whole: toggleWhole,
};

function click(event) {
  const { act, step: by, history } = event.target.closest('button')?.dataset ?? {};
  if (act) actions[act]();
  else if (by) step(Number(by));
  else if (history) fire('restore', { history: Number(history) });
}

function pressOnPage(event) {
  if (!element.offsetParent || !edit.file.id) return; // no offsetParent: another tab, or closed
  if (document.querySelector('dialog[open], :popover-open')) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key], isControl = event.ctrlKey || event.metaKey;
  const isTyping = event.target.closest('input, textarea'), key = event.key.toLowerCase();
  if (by && MAC && isTyping) return; // there it moves by a word
  if (key === 's' && isControl && !event.altKey) actions.save();
  else if (event.key === 'Enter' && isControl) approveAndGoOn();
  else if (event.altKey && by) step(by);
  else if (isControl && !isTyping && ['z', 'y'].includes(key)) clickIfAble(key === 'y' || event.shiftKey ? 'redo' : 'undo');
  else return;
  event.preventDefault();
}

const clickIfAble = act => $(`[data-act=${act}]`).click(); // a disabled button ignores it
