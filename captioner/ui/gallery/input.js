// Mouse, keyboard and buttons of the grid.
import * as actions from './actions.js';
import { cursor, list, view } from './files.js';
import { filter, load, setColumns, sort } from './listing.js';
import { numColumns, numRowsOnScreen } from './scroller.js';
import { indexOf, playVideo, stopVideo, tileAt } from './tiles.js';

const HOVER_MS = 150;
let element, port;
const $ = selector => element.querySelector(selector);

const buttons = {
  direction: () => sort(view.key, !view.descending),
  help: () => help($('.grid-empty').dataset.why),
  approve: button => actions.approve(!button.dataset.off),
};

// Let another part of the page act when the button with this `data-act` is clicked.
export function onButton(name, act) {
  buttons[name] = act;
}

export function startInput(given) {
  element = given;
  port = $('.grid-view');
  listenToTiles($('.grid-canvas'));
  listenToToolbars();
  port.addEventListener('keydown', pressInGrid);
  port.addEventListener('focus', () => {
    if (cursor.active < 0 && list.shown.length && port.matches(':focus-visible')) actions.focusOn(list.shown[0]);
  });
  document.addEventListener('keydown', pressOnPage);
}

function listenToTiles(canvas) {
  let hovering = 0;
  canvas.addEventListener('mouseover', event => {
    const tile = tileAt(event);
    if (!tile || tile.querySelector('video') || !event.target.closest('.grid-picture')) return;
    if (!list.kinds[indexOf(tile)]) return; // an image
    clearTimeout(hovering);
    const start = () => { if (tile.matches(':hover') && tile.isConnected) playVideo(tile, indexOf(tile)); };
    hovering = setTimeout(start, HOVER_MS);
  });
  canvas.addEventListener('mouseout', event => {
    const tile = tileAt(event);
    if (tile && !tile.contains(event.relatedTarget)) stopVideo(tile);
  });
  canvas.addEventListener('mousedown', event => { if (event.shiftKey) event.preventDefault(); }); // selects no text
  canvas.addEventListener('click', event => {
    const tile = tileAt(event);
    if (!tile) return;
    const i = indexOf(tile);
    if (event.shiftKey && list.place[cursor.anchor] >= 0) actions.selectTo(i);
    else if (event.ctrlKey || event.metaKey || event.target.closest('.grid-check')) actions.toggle(i);
    else actions.open(i);
  });
}

function listenToToolbars() {
  const searchBox = $('.grid-search input');
  element.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (!button) return;
    const { state, kind, select, act } = button.dataset;
    if (state) filter({ state });
    else if (kind) filter({ kind });
    else if (select) actions.select(select);
    else buttons[act]?.(button);
  });
  searchBox.addEventListener('input', () => filter({ query: searchBox.value }));
  searchBox.addEventListener('keydown', event => {
    if (event.key === 'Escape' && searchBox.value) filter({ query: '' });
    else if (event.key === 'Escape' || event.key === 'Enter' || event.key === 'ArrowDown') port.focus();
    else return;
    event.preventDefault();
  });
  $('.grid-sort select').addEventListener('change', event => sort(event.target.value, view.descending));
  $('.grid-columns input').addEventListener('input', event => setColumns(Number(event.target.value)));
}

function help(why) {
  if (why === 'match') filter({ query: '', state: 'all', kind: 'all' });
  else if (why === 'broken') load();
  else document.querySelector('#folder-bar [data-act=menu]')?.click();
}

function pressInGrid(event) {
  if (event.altKey) return; // Alt and an arrow open the next file; see panel.js
  const by = distance(event.key), last = list.shown.length - 1, { active } = cursor, isShown = list.place[active] >= 0;
  const isCombined = event.ctrlKey || event.metaKey;
  if (by && last >= 0) {
    const from = list.place[active] ?? -1, to = from < 0 ? 0 : Math.max(0, Math.min(last, from + by));
    actions.focusOn(list.shown[to], event.shiftKey);
  } else if (event.key === ' ' && isShown) actions.toggle(active);
  else if (event.key === 'Enter' && isShown) actions.open(active);
  else if (event.key.toLowerCase() === 'a' && isCombined) actions.select('all');
  else if (event.key === 'a' && list.selected[active]) $('.grid-approve').click();
  else if (event.key === 'a' && isShown) actions.approve(!actions.isApproved(active), String(active));
  else if (event.key === 'Escape') port.blur();
  else return;
  event.preventDefault();
}

// How many files a key moves the focus on; undefined for other keys.
function distance(key) {
  const columns = numColumns(), page = numRowsOnScreen() * columns;
  return {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page,
    Home: -Infinity, End: Infinity,
  }[key];
}

function pressOnPage(event) {
  const isTyping = event.target.closest?.('input, textarea, select, [contenteditable]');
  const isCombined = event.ctrlKey || event.metaKey || event.altKey;
  if (event.key !== '/' || isTyping || isCombined || !element.offsetParent) return; // no offsetParent: another tab
  event.preventDefault();
  $('.grid-search input').focus();
  $('.grid-search input').select();
}
