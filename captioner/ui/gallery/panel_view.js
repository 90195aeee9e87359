// What the caption panel shows of the opened file and of the edit.
import { edit, isDirty } from './edit.js';
import { make, showText } from '../dom.js';
import { dateTime, plural } from '../format.js';
import { address } from '../requests.js';

const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g; // each of these characters counts as a word
const TOKENS_PER_WORD = 1.3;
let element;
const $ = selector => element.querySelector(selector);

export function startView(given) {
  element = given;
  $('.panel-sheet').addEventListener('toggle', showSheet);
}

export function showFile(isOpen) {
  $('.panel-empty').hidden = isOpen;
  $('.panel-open').hidden = !isOpen;
  $('.panel-sheet').open = false;
  $('.panel-open').scrollTop = 0;
  if (isOpen) showMedia();
  else $('.panel-stage').replaceChildren();
}

export function showMedia() {
  const { id, version, kind } = edit.file, stage = $('.panel-stage');
  const source = address(`media/${id}`), poster = address(`thumb/${id}.jpg?v=${version}`);
  const image = src => make('img', { src, alt: '', decoding: 'async' });
  if (kind === 'image') {
    stage.replaceChildren(image(source));
    return;
  }
  const options = { controls: true, loop: true, playsInline: true, preload: 'metadata' };
  const video = make('video', { ...options, poster, src: source });
  video.addEventListener('error', () => {
    const text = make('p', {}, 'This browser cannot play the file. The model may still be able to read it.');
    stage.replaceChildren(image(poster), text);
  });
  stage.replaceChildren(video);
}

export function showTexts() {
  const { file } = edit, [name, facts] = $('.panel-title').children, stage = $('.panel-stage');
  name.textContent = name.title = file.name;
  facts.textContent = file.facts;
  showProblem(file.problem);
  $('.panel-note').hidden = !file.changed_outside;
  if (!file.changed_outside) $('.panel-consent').hidden = true;
  stage.classList.toggle('running', file.tokens !== null);
  stage.dataset.run = file.tokens ? `Captioning: ${plural(file.tokens, 'token')}` : 'Reading frames';
  showHtml($('.panel-about'), file.about);
  showHtml($('.panel-history'), file.history);
  $('.panel-sheet summary').textContent = `What the model ${file.saw ? 'saw' : 'sees'}`;
  showSheet();
}

export const showProblem = text => showText($('.panel-problem'), text);

// html: made and escaped in Python.
function showHtml(part, html) {
  if (part.shown === html) return; // keeps the focus and what is unfolded
  part.innerHTML = part.shown = html;
  for (const time of part.querySelectorAll('time')) time.textContent = dateTime(time.dataset.s);
}

// The frames, which are fetched only while they are unfolded.
function showSheet() {
  if (!$('.panel-sheet').open) return;
  const source = address(`sheet/${edit.file.id}.jpg?p=${encodeURIComponent(edit.file.plan)}`);
  const image = $('.panel-sheet img');
  if (image.getAttribute('src') !== source) image.src = source;
}

// Show what depends on the text in the editor.
export function showEdit() {
  showCount($('textarea').value);
  showButtons();
  const conflict = $('.panel-conflict'), isNew = conflict.hidden && edit.theirs !== null;
  if (isNew) requestAnimationFrame(() => conflict.scrollIntoView({ block: 'nearest' }));
  conflict.hidden = edit.theirs === null;
  conflict.querySelector('p').textContent = edit.theirs || 'Nothing: the caption was deleted.';
}

function showCount(text) {
  const words = text.replace(CJK, ' ').split(/\s+/).filter(Boolean).length + (text.match(CJK)?.length ?? 0);
  const tokens = Math.ceil(words * TOKENS_PER_WORD), characters = plural([...text].length, 'character');
  $('.panel-count').textContent = `${plural(words, 'word')} · ${characters} · about ${plural(tokens, 'token')}`;
  $('.panel-dirty').textContent = isDirty() ? 'Not saved' : '';
}

function showButtons() {
  const { file } = edit, dirty = isDirty(), button = act => $(`[data-act=${act}]`), approve = button('approve');
  button('save').disabled = !dirty;
  button('undo').disabled = !dirty && !file.undo;
  button('undo').title = dirty ? 'Undo the unsaved changes' : 'Restore the previous text';
  button('delete').disabled = !file.text && !dirty;
  button('history').disabled = !file.history;
  button('again').disabled = file.tokens !== null || file.approved;
  button('again').title = file.approved ? 'This caption is approved. Unapprove it first.'
    : 'Recaption this file with the current prompt. The old text stays in the history.';
  approve.disabled = !file.approved && !$('textarea').value.trim();
  approve.setAttribute('aria-pressed', Boolean(file.approved));
  approve.title = file.approved ? 'Unapprove: let jobs and bulk edits change this caption (Ctrl+Enter)'
    : 'Approve: protect this caption from jobs and bulk edits (Ctrl+Enter)';
  if (!file.history) showHistory(false);
}

export function showHistory(isOpen) {
  $('.panel-history').hidden = !isOpen;
  $('[data-act=history]').setAttribute('aria-expanded', isOpen);
}

// Show or hide one of the panel's own questions, such as ".panel-consent".
export function showQuestion(selector, isOpen) {
  const question = $(selector);
  question.hidden = !isOpen;
  if (!isOpen) return;
  question.scrollIntoView({ block: 'nearest' });
  question.querySelector('button').focus({ preventScroll: true });
}

export function flashCopied() {
  const button = $('[data-act=copy]');
  button.classList.add('did');
  setTimeout(() => button.classList.remove('did'), 1200);
}
