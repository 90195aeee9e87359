// What the caption panel shows of the opened file and of the edit, and the width of the panel, which a person can drag.
import { edit, isDirty } from './edit.js';
import { showFields } from './fields.js';
import { showEnlarged } from './lightbox.js';
import { canGoBack, canGoForth } from './trail.js';
import { address, dateTime, make, number, plural, showText } from '../common.js';

const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g; // each of these characters counts as a word
const TOKENS_PER_WORD = 1.3;
const WIDTH = { least: 300, most: 900, usual: 400, step: 24, leftForGrid: 380, stored: 'vcs-panel-width' };
const PLAYING = 'vcs-still', HEIGHT = 'vcs-text-height', FLASH_MS = 3000;
const kept = new Set(); // the changes whose new text a person has chosen
let element, flashing = 0, asker = null; // asker: what had the focus before a question
const $ = selector => element.querySelector(selector);

export function startView(given) {
  element = given;
  $('.panel-sheet').addEventListener('toggle', showSheet);
  startWidth($('.panel-drag'));
  startHeight($('textarea'));
}

export function showFile(isOpen) {
  $('.panel-open').hidden = !isOpen;
  $('.panel-sheet').open = false;
  $('.panel-body').scrollTop = 0;
  clearTimeout(flashing);
  flashing = 0;
  if (isOpen) showMedia();
  else $('.panel-media').replaceChildren();
}

export function showMedia() {
  const { id, version, kind } = edit.file, stage = $('.panel-media');
  showEnlarged();
  const src = address(`media/${id}`), poster = address(`thumb/${id}.jpg?v=${version}`);
  const image = source => make('img', { src: source, alt: '', decoding: 'async' });
  if (kind === 'image') {
    const original = image(src); // browsers show no HEIC and no TIFF: the thumbnail stands in
    original.addEventListener('error', () => stage.replaceChildren(image(poster)), { once: true });
    stage.replaceChildren(original);
    return;
  }
  const playing = { muted: true, loop: true, playsInline: true, autoplay: isPlaying() };
  const video = make('video', { ...playing, preload: 'auto', disablePictureInPicture: true, poster, src });
  video.addEventListener('error', () => {
    const hope = edit.file.problem ? '' : ' The model may still be able to read it.';
    stage.replaceChildren(image(poster), make('p', {}, `This browser cannot play the file.${hope}`));
  });
  video.addEventListener('loadedmetadata', showSpan);
  stage.replaceChildren(video);
  showPlaying();
}

// The part of the clip that the model saw, if that is not all of it.
function showSpan() {
  const { span } = edit.file, bar = $('.panel-span'), length = $('.panel-media video')?.duration;
  bar.hidden = !span || !(length > 0);
  if (bar.hidden) return;
  const [from, to] = span.map(time => Math.min(time, length));
  bar.style.setProperty('--from', `${100 * from / length}%`);
  bar.style.setProperty('--to', `${100 * to / length}%`);
  bar.title = `The caption is about ${from.toFixed(1)} s to ${to.toFixed(1)} s`;
  bar.setAttribute('aria-label', bar.title);
}

// Clips play by themselves unless a person has stopped that, or has asked the system for less motion.
function isPlaying() {
  const still = localStorage.getItem(PLAYING);
  return still === null ? !matchMedia('(prefers-reduced-motion: reduce)').matches : still === 'no';
}

function showPlaying() {
  const button = $('.panel-play'), on = isPlaying();
  button.setAttribute('aria-pressed', on);
  button.title = on ? 'Stop. The next clips do not play by themselves.' : 'Play this clip and the next ones';
}

export function togglePlaying() {
  localStorage.setItem(PLAYING, isPlaying() ? 'yes' : 'no');
  const video = $('.panel-media video');
  showPlaying();
  if (isPlaying()) video?.play().catch(() => {});
  else video?.pause();
}

export function showTexts() {
  const { file } = edit, [name, facts, measured] = $('.panel-title').children, stage = $('.panel-stage');
  name.textContent = name.title = file.name;
  facts.textContent = file.facts;
  showText(measured, file.measured);
  measured.title = `Measured in the frames: ${file.measured}`;
  showProblem(file.problem);
  $('.panel-outside').hidden = !file.changed_outside;
  showText($('.panel-doubt'), file.doubt ? `This caption is ${file.doubt}. Check its characters before you save it.` : '');
  showText($('.panel-fault'), file.fault ? `This caption ${file.fault}.` : '');
  if (!file.doubt) $('.panel-guess').hidden = true;
  if (!file.changed_outside) $('.panel-consent').hidden = true;
  stage.classList.toggle('running', file.tokens !== null);
  stage.dataset.run = file.tokens ? `Captioning: ${plural(file.tokens, 'token')}` : 'Reading frames';
  showSpan();
  showHtml($('.panel-about'), file.about);
  showHtml($('.panel-history'), file.history);
  showComparison();
  $('.panel-sheet summary').textContent = `What the model ${file.saw ? 'saw' : 'sees'}`;
  showSheet();
}

function showComparison() {
  const { compare } = edit.file, part = $('.panel-compare'), [before, after] = part.querySelectorAll('p');
  part.hidden = !compare || kept.has(compare.id) || edit.file.tokens !== null;
  if (part.hidden) return;
  showHtml(before, compare.before);
  showHtml(after, compare.after);
}

export function keepNew() {
  kept.add(edit.file.compare.id);
  showComparison();
}

export function showConflict() {
  $('.panel-conflict button').focus();
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

// Show what depends on the text in the editor. canRedo: an edit that was taken back can come again.
export function showEdit(canRedo = false) {
  const text = $('textarea').value, conflict = $('.panel-conflict');
  showFields();
  showCount(text);
  if (isDirty() || !flashing) showState(isDirty() ? 'Not saved' : '');
  showButtons(text, canRedo);
  conflict.hidden = edit.theirs === null;
  if (!conflict.hidden) {
    conflict.querySelector('p').textContent = edit.theirs || 'Nothing: the caption was deleted.';
  }
}

function showState(text, isSaved = false) {
  const part = $('.panel-dirty');
  if (part.textContent !== text) part.textContent = text;
  part.dataset.saved = isSaved;
}

export function flashSaved() {
  if (isDirty()) return;
  clearTimeout(flashing);
  showState('Saved', true);
  flashing = setTimeout(() => { flashing = 0; showState(isDirty() ? 'Not saved' : ''); }, FLASH_MS);
}

function showCount(text) {
  const words = text.replace(CJK, ' ').split(/\s+/).filter(Boolean).length + (text.match(CJK)?.length ?? 0);
  const [least, most] = edit.file.target ?? [0, 0], part = $('.panel-count'), tokens = Math.ceil(words * TOKENS_PER_WORD);
  const isOff = words > 0 && (words < least || (most > 0 && words > most));
  const wanted = !most ? (least ? ` of at least ${number(least)}` : '') : ` of ${least ? `${number(least)}–` : 'at most '}${number(most)}`;
  const count = wanted ? `${number(words)}${wanted} words` : plural(words, 'word');
  const limit = edit.file.max_tokens ? `${number(tokens)} of ${plural(edit.file.max_tokens, 'token')}` : plural(tokens, 'token');
  part.dataset.off = isOff;
  part.replaceChildren(make('b', {}, count), ` · ${plural([...text].length, 'character')} · about ${limit}`);
}

function showButtons(text, canRedo) {
  const { file } = edit, dirty = isDirty(), button = act => $(`[data-act=${act}]`), approve = button('approve');
  const focused = $('button:focus-visible');
  button('save').disabled = !dirty && !file.doubt;
  button('undo').disabled = !dirty && !canGoBack();
  button('undo').title = dirty ? 'Undo the unsaved changes' : 'Go back to an earlier text (Ctrl+Z)';
  button('redo').disabled = !canRedo && (dirty || !canGoForth());
  button('redo').title = canRedo ? 'Redo the unsaved changes' : 'Go forward again (Ctrl+Shift+Z)';
  button('delete').disabled = !file.text && !dirty;
  button('history').disabled = !file.history;
  button('again').disabled = file.tokens !== null || file.approved;
  button('again').title = file.approved ? 'This caption is approved. Unapprove it first.'
    : 'Caption this file again with the current prompt. The old text stays in the history.';
  $('.panel-again span').textContent = file.text ? 'Caption again' : 'Caption this';
  button('next').disabled = !text.trim();
  button('next').textContent = file.approved && !dirty ? 'Next' : 'Approve and next';
  button('next').title = text.trim() ? 'Ctrl+Enter' : 'There is no caption to approve';
  approve.disabled = !file.approved && !text.trim();
  approve.setAttribute('aria-pressed', Boolean(file.approved));
  approve.title = file.approved ? 'Unapprove: let jobs and bulk edits change this caption'
    : 'Approve: protect this caption from jobs and bulk edits';
  if (!file.history) showHistory(false);
  if (focused?.disabled) $('textarea').focus(); // such as Save, by keyboard
}

export function showHistory(isOpen) {
  $('.panel-history').hidden = !isOpen;
  $('[data-act=history]').setAttribute('aria-expanded', isOpen);
}

// Show or hide one of the panel's own questions, such as ".panel-consent". The focus is on the answer that changes
// nothing, and afterwards where it was before.
export function showQuestion(selector, isOpen) {
  const question = $(selector), hadFocus = question.contains(document.activeElement);
  if (isOpen && question.hidden) asker = document.activeElement;
  question.hidden = !isOpen;
  if (hadFocus && !isOpen) (asker?.isConnected && !asker.disabled ? asker : $('textarea')).focus({ preventScroll: true });
  if (!isOpen) return;
  question.scrollIntoView({ block: 'nearest' });
  question.querySelector('button:last-child').focus({ preventScroll: true });
}

export function flashCopied() {
  const button = $('[data-act=copy]');
  button.classList.add('did');
  setTimeout(() => button.classList.remove('did'), 1200);
}

function setWidth(width) {
  const chosen = Math.round(Math.max(WIDTH.least, Math.min(WIDTH.most, innerWidth - WIDTH.leftForGrid, width)));
  document.documentElement.style.setProperty('--panel-width', `${chosen}px`);
  Object.assign($('.panel-drag'), { ariaValueNow: chosen, ariaValueMin: WIDTH.least, ariaValueMax: WIDTH.most });
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

// The text keeps the height that a person drags it to.
function startHeight(box) {
  const height = localStorage.getItem(HEIGHT);
  if (height) document.documentElement.style.setProperty('--text-height', height);
  new ResizeObserver(() => {
    if (box.style.height && box.style.height !== localStorage.getItem(HEIGHT)) localStorage.setItem(HEIGHT, box.style.height);
  }).observe(box);
}
