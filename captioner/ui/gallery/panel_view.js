// What the caption panel shows of the opened file and of the edit, and the width of the panel, which a person can drag.
import { edit, isDirty } from './edit.js';
import { address, dateTime, make, plural, showText } from '../common.js';

const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g; // each of these characters counts as a word
const TOKENS_PER_WORD = 1.3;
const WIDTH = { least: 300, most: 900, usual: 400, step: 24, leftForGrid: 380, stored: 'vcs-panel-width' };
let element;
const $ = selector => element.querySelector(selector);

export function startView(given) {
  element = given;
  $('.panel-sheet').addEventListener('toggle', showSheet);
  startWidth($('.panel-drag'));
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
  const src = address(`media/${id}`), poster = address(`thumb/${id}.jpg?v=${version}`);
  const image = source => make('img', { src: source, alt: '', decoding: 'async' });
  if (kind === 'image') {
    const original = image(src); // browsers show no HEIC and no TIFF: the thumbnail stands in
    original.addEventListener('error', () => stage.replaceChildren(image(poster)), { once: true });
    stage.replaceChildren(original);
    return;
  }
  const video = make('video', { controls: true, loop: true, playsInline: true, preload: 'metadata', poster, src });
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
  showText($('.panel-doubt'), file.doubt ? `This caption is ${file.doubt}. Check its characters before you save it.` : '');
  if (!file.doubt) $('.panel-guess').hidden = true;
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
  const text = $('textarea').value, conflict = $('.panel-conflict'), hasConflict = edit.theirs !== null;
  const words = text.replace(CJK, ' ').split(/\s+/).filter(Boolean).length + (text.match(CJK)?.length ?? 0);
  const tokens = Math.ceil(words * TOKENS_PER_WORD), characters = plural([...text].length, 'character');
  $('.panel-count').textContent = `${plural(words, 'word')} · ${characters} · about ${plural(tokens, 'token')}`;
  $('.panel-dirty').textContent = isDirty() ? 'Not saved' : '';
  showButtons(text);
  if (hasConflict && conflict.hidden) requestAnimationFrame(() => conflict.scrollIntoView({ block: 'nearest' }));
  conflict.hidden = !hasConflict;
  conflict.querySelector('p').textContent = edit.theirs || 'Nothing: the caption was deleted.';
}

function showButtons(text) {
  const { file } = edit, dirty = isDirty(), button = act => $(`[data-act=${act}]`), approve = button('approve');
  button('save').disabled = !dirty && !file.doubt;
  button('undo').disabled = !dirty && !file.undo;
  button('undo').title = dirty ? 'Undo the unsaved changes' : 'Restore the previous text';
  button('delete').disabled = !file.text && !dirty;
  button('history').disabled = !file.history;
  button('again').disabled = file.tokens !== null || file.approved;
  button('again').title = file.approved ? 'This caption is approved. Unapprove it first.'
    : 'Recaption this file with the current prompt. The old text stays in the history.';
  approve.disabled = !file.approved && !text.trim();
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

function setWidth(width) {
  const chosen = Math.round(Math.max(WIDTH.least, Math.min(WIDTH.most, innerWidth - WIDTH.leftForGrid, width)));
  document.documentElement.style.setProperty('--panel-width', `${chosen}px`);
  return chosen;
}

const keepWidth = width => localStorage.setItem(WIDTH.stored, setWidth(width));

function startWidth(handle) {
  handle.addEventListener('pointerdown', event => {
    const width = element.offsetWidth, start = event.clientX;
    const follow = moved => keepWidth(width + start - moved.clientX);
    handle.setPointerCapture(event.pointerId);
    handle.addEventListener('pointermove', follow);
    handle.addEventListener('pointerup', () => handle.removeEventListener('pointermove', follow), { once: true });
    event.preventDefault();
  });
  handle.addEventListener('dblclick', () => keepWidth(WIDTH.usual));
  handle.addEventListener('keydown', event => {
    const by = { ArrowLeft: WIDTH.step, ArrowRight: -WIDTH.step }[event.key];
    if (!by || event.altKey) return;
    keepWidth(element.offsetWidth + by);
    event.preventDefault();
  });
  setWidth(Number(localStorage.getItem(WIDTH.stored)) || Math.min(WIDTH.usual, innerWidth * 0.32));
}
