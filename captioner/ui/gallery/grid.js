// The grid of all files: its mouse and keyboard. Python sends what changed as properties; see grid.py.
import { onButton } from './buttons.js';
import * as early from './early.js';
import { cursor, list } from './files.js';
import * as listing from './listing.js';
import { filter, open, select, sort } from './listing.js';
import { closePanel, editCaption } from './panel.js';
import { say, startSaying } from './say.js';
import { startSelection } from './selection.js';
import { indexOf, playVideo, stopVideo, tileAt } from './tile.js';
import { numColumns, numRowsOnScreen } from './tiles.js';

const SENT = ['scan', 'revision', 'changes', 'base', 'running', 'busy', 'existing'];
const HOVER_MS = 150, MARKS = { 1: 'star', 2: 'reject', 3: '' };
let element, port;
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  element = gradio.element;
  listing.startListing(gradio, early.moveTo(element)).then(early.repeatEvents);
  port = $('.grid-view');
  startSelection(element);
  onButton('help', () => help($('.grid-empty').dataset.why));
  listenToTiles($('.grid-canvas'));
  port.addEventListener('keydown', pressInGrid);
  document.addEventListener('keydown', pressOnBody);
  startSaying(element);
  port.addEventListener('focus', () => {
    if (cursor.active < 0 && list.shown.length && port.matches(':focus-visible')) listing.focusOn(list.shown[0]);
  });
  fillScreen();
  gradio.watch(SENT, listing.sync);
  gradio.watch('said', () => say(gradio.props.said.text));
  // For benchmarks, which act on the grid as a person would but faster.
  element.dataset.grid = '';
  element.grid = { select, filter, sort, open, step: listing.step, columns: listing.setColumns };
}

// The panes reach from where they begin, whatever is above them, down to the end of the screen.
function fillScreen() {
  function fit() {
    const panes = element.closest('#panes'), top = panes?.getBoundingClientRect().top + scrollY;
    if (panes?.offsetParent) panes.style.setProperty('--panes-top', `${Math.round(top)}px`);
  }
  const observer = new ResizeObserver(fit);
  [document.body, element, ...document.querySelectorAll('#run, #notices')].forEach(each => observer.observe(each));
  fit();
}

function listenToTiles(canvas) {
  let hovering = 0;
  canvas.addEventListener('mouseover', event => {
    const tile = tileAt(event);
    if (!tile || tile.querySelector('video') || !event.target.closest('.grid-picture')) return;
    if (!list.kinds[indexOf(tile)]) return; // an image
    clearTimeout(hovering);
    const play = () => { if (tile.matches(':hover') && tile.isConnected) playVideo(tile, indexOf(tile)); };
    hovering = setTimeout(play, HOVER_MS);
  });
  canvas.addEventListener('mouseout', event => {
    const tile = tileAt(event);
    if (tile && !tile.contains(event.relatedTarget)) stopVideo(tile);
  });
  canvas.addEventListener('mousedown', event => { if (event.shiftKey) event.preventDefault(); }); // selects no text
  canvas.addEventListener('click', event => {
    const tile = tileAt(event), i = tile && indexOf(tile);
    if (!tile) return;
    if (event.shiftKey && list.place[cursor.anchor] >= 0) listing.selectTo(i);
    else if (event.ctrlKey || event.metaKey || event.target.closest('.grid-check')) listing.toggle(i);
    else open(i);
  });
}

function help(why) {
  if (why === 'match') filter({ query: '', state: 'all', kind: 'all', measured: 'all', only: null });
  else if (why === 'broken') listing.load();
  else document.querySelector('#folder-bar [data-act=menu]')?.click();
}

function pressInGrid(event) {
  if (event.altKey) return; // Alt and an arrow open the next file; see panel.js
  const by = distance(event.key), last = list.shown.length - 1, isShown = last >= 0;
  const active = list.place[cursor.active] >= 0 ? cursor.active : list.shown[0];
  if (by && isShown) {
    const from = list.place[cursor.active] ?? -1, to = from < 0 ? 0 : Math.max(0, Math.min(last, from + by));
    listing.focusOn(list.shown[to], event.shiftKey);
  } else if (event.key === ' ' && isShown) listing.toggle(active);
  else if (event.key === 'Enter' && isShown) openOrEdit(active);
  else if (event.key in MARKS && isShown && !event.ctrlKey && !event.metaKey) listing.mark(active, MARKS[event.key]);
  else if (event.key.toLowerCase() === 'a' && (event.ctrlKey || event.metaKey)) select('all');
  else if (event.key === 'a' && list.selected[active]) $('.grid-approve').click();
  else if (event.key === 'a' && isShown) listing.toggleApproved(active);
  else if (event.key === 'Escape' && cursor.opened >= 0) closePanel();
  else if (event.key === 'Escape') port.blur();
  else return;
  event.preventDefault();
}

// A key that is pressed while nothing has the focus is meant for the grid.
function pressOnBody(event) {
  if (event.target !== document.body || event.key === 'Escape' && cursor.opened < 0) return;
  if (!element.offsetParent || document.querySelector('dialog[open], :popover-open')) return;
  pressInGrid(event);
  if (event.defaultPrevented && cursor.opened < 0) port.focus();
}

// Enter opens a file, and pressed again goes to its caption.
function openOrEdit(i) {
  if (i === cursor.opened) editCaption();
  else open(i);
}

// How many files a key moves the focus on; undefined for other keys.
function distance(key) {
  const columns = numColumns(), page = numRowsOnScreen() * columns;
  return {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page,
    Home: -Infinity, End: Infinity,
  }[key];
}
