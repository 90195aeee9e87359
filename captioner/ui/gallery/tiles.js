// The scroller of the grid. Only the rows and tiles on the screen exist, however many files there are.
import { asRanges, cursor, list } from './files.js';
import { newTile, paint, stopVideo, tileId } from './tile.js';
import { address, fetchJson, make } from '../common.js';

const GAP = 12, OVERSCAN_ROWS = 1, MAX_POOL = 100, MAX_ROWS = 400, SETTLE_MS = 60, MAX_COLUMNS = 12;
const USUAL_WIDTH = 220, WIDTH_OF_A_LINE = 80; // a tile of 320 px shows four lines of its caption
const ASPECT = 3 / 2, MOST_OF_HEIGHT = 0.6; // of a picture
const LINE_HEIGHT = 16, NAME_HEIGHT = 28, MARGIN = 12, MAX_LINES = 14;
const MARGINS_OF_NAME = 40, CHARACTER_WIDTH = 9; // px
const MAX_HEIGHT = 16_000_000; // px; browsers scroll no farther
const live = new Map(), free = new Set(); // index -> tile on the screen; tiles to use again
const rows = new Map(); // number -> row on the screen
let port, canvas, onRows, geometry = null, columns = 0, chosenWidth = 0, frame = 0, settling = 0;
let mostPictures = Infinity; // that are fetched at once

// given: the element that scrolls; width: of a tile as a person chose it, or 0; whenRows(rows): takes what was fetched
// of the files on the screen.
export function startScroller(given, width, whenRows) {
  port = given;
  canvas = port.querySelector('.grid-canvas');
  [chosenWidth, onRows] = [width, whenRows];
  port.addEventListener('scroll', () => { frame ||= requestAnimationFrame(draw); }, { passive: true });
  new ResizeObserver(layout).observe(port);
}

export const scrollToTop = () => { port.scrollTop = 0; };
export const numColumns = () => columns;
export const tileWidth = () => chosenWidth;
export const numRowsOnScreen = () => Math.max(1, Math.floor(port.clientHeight / (geometry?.rowHeight || 1)));
// except: the indices of tiles that were painted just now.
export const repaint = except => { for (const [i, tile] of live) if (!except?.has(i)) paint(tile, i, geometry); };
export const shownNow = () => [...live.keys()];

export function setColumns(count) {
  chosenWidth = widthOf(Math.max(1, Math.min(MAX_COLUMNS, count)));
  layout();
}

const widthOf = count => (port.clientWidth - 4 - (count - 1) * GAP) / count;
const numRows = () => Math.ceil(list.shown.length / columns);

// As many columns as make the tiles about as wide as chosen, so that they keep their size when the panel opens.
function measure() {
  const wanted = chosenWidth || USUAL_WIDTH, least = chosenWidth ? 1 : 2, most = chosenWidth ? MAX_COLUMNS : 8;
  columns = Math.max(least, Math.min(most, Math.round((port.clientWidth + GAP) / (wanted + GAP))));
  geometry = geometryOf(columns);
  while (numRows() * geometry.rowHeight > MAX_HEIGHT && columns < MAX_COLUMNS) geometry = geometryOf(++columns);
}

function geometryOf(count) {
  const width = widthOf(count), lines = Math.max(2, Math.min(MAX_LINES, Math.round(width / WIDTH_OF_A_LINE)));
  const picture = Math.min(width / ASPECT, Math.max(120, MOST_OF_HEIGHT * port.clientHeight));
  const height = Math.round(picture + NAME_HEIGHT + (list.hasFolders ? LINE_HEIGHT : 0) + lines * LINE_HEIGHT + MARGIN);
  const fits = Math.floor((width - MARGINS_OF_NAME) / CHARACTER_WIDTH);
  return { lines, fits, height, rowHeight: height + GAP, columns: count };
}

// Return the indices of the tiles that are new on the screen.
export function layout() {
  if (!port.clientWidth) return null; // in a tab that is not shown
  const before = geometry, top = port.scrollTop, held = before && fileToHold(before, top);
  measure();
  const { lines, height, rowHeight } = geometry;
  canvas.style.height = `${Math.max(0, numRows() * rowHeight - GAP)}px`;
  for (const [name, value] of [['columns', columns], ['lines', lines], ['height', `${height}px`], ['row', `${rowHeight}px`]]) {
    canvas.style.setProperty(`--${name}`, value);
  }
  canvas.classList.toggle('folders', list.hasFolders);
  port.setAttribute('aria-rowcount', numRows());
  port.setAttribute('aria-colcount', columns);
  const slider = document.querySelector('.grid-columns input');
  if (slider) slider.value = columns;
  if (held && list.place[held.i] > 0) port.scrollTop = Math.floor(list.place[held.i] / columns) * rowHeight - held.offset;
  if (held && held.i === cursor.active) reveal(held.i);
  if (before?.columns !== columns || before.fits !== geometry.fits) repaint();
  return draw();
}

// The file that stays where it is when the width or the number of columns changes: the one with the focus, if it is on
// the screen, else the one at the top; offset: how far it is from the top.
function fileToHold(before, top) {
  const { active } = cursor, y = Math.floor((list.place[active] ?? -1) / before.columns) * before.rowHeight;
  if (list.place[active] >= 0 && y + before.height > top && y < top + port.clientHeight) return { i: active, offset: y - top };
  const row = Math.floor(top / before.rowHeight);
  return top ? { i: list.shown[row * before.columns], offset: row * before.rowHeight - top } : null;
}

function newRow(number) {
  const row = make('div', { className: 'grid-row', role: 'row' });
  row.setAttribute('aria-rowindex', number + 1);
  row.style.setProperty('--number', number);
  rows.set(number, row);
  return row;
}

// there: what is at its place now. To use that again saves the browser most of the work.
function showTile(i, there, fresh) {
  if (live.has(i)) return live.get(i);
  const [any] = free, tile = free.has(there) ? there : any ?? newTile();
  free.delete(tile);
  paint(tile, i, geometry);
  live.set(i, tile);
  fresh.add(i);
  return tile;
}

function fillRow(row, number, fresh) {
  const indices = list.shown.subarray(number * columns, (number + 1) * columns);
  indices.forEach((i, at) => {
    const there = row.children[at], tile = showTile(i, there, fresh);
    if (tile !== there) row.insertBefore(tile, there ?? null);
  });
  while (row.children.length > indices.length) row.lastChild.remove();
}

// Return the indices of the tiles that are new on the screen.
export function draw() {
  frame = 0;
  const fresh = new Set();
  if (!geometry) return fresh;
  const { rowHeight } = geometry, first = Math.max(0, Math.floor(port.scrollTop / rowHeight) - OVERSCAN_ROWS);
  const end = Math.min(numRows(), Math.ceil((port.scrollTop + port.clientHeight) / rowHeight) + OVERSCAN_ROWS);
  for (const [i, tile] of live) {
    if (list.place[i] >= first * columns && list.place[i] < end * columns) continue;
    live.delete(i);
    tile.dataset.id = '';
    if (free.size < MAX_POOL) free.add(tile);
  }
  for (const [number, row] of rows) if (number < first || number >= end) { rows.delete(number); row.remove(); }
  for (let number = first; number < end; number++) {
    const row = rows.get(number) ?? newRow(number), there = canvas.children[number - first];
    fillRow(row, number, fresh);
    if (there !== row) canvas.insertBefore(row, there ?? null); // in order, as screen readers read them
  }
  settling ||= setTimeout(settle, SETTLE_MS);
  return fresh;
}

// count: how many pictures may be fetched at once.
export function allowPictures(count) {
  mostPictures = count;
  fetchPictures();
}

export function fetchPictures() {
  const isLoading = ({ parts: { img } }) => img.hasAttribute('src') && !img.complete;
  let numLoading = mostPictures < Infinity ? [...live.values()].filter(isLoading).length : 0;
  for (const [i, tile] of live) {
    const source = address(`thumb/${list.scan}-${i}.jpg?v=${list.times[i]}`), { img } = tile.parts;
    if (img.getAttribute('src') === source || numLoading++ >= mostPictures) continue;
    img.loading = mostPictures < Infinity ? 'lazy' : 'eager'; // lazy ones do not hold up the page's load event
    img.src = source;
  }
}

// Fetch pictures and captions for the tiles on the screen. This waits until scrolling has come to rest.
export async function settle() {
  clearTimeout(settling);
  settling = 0;
  fetchPictures();
  const scan = list.scan, wanted = [...live.keys()].filter(i => !list.rows.has(i)).slice(0, MAX_ROWS);
  if (!wanted.length) return;
  const answer = await fetchJson(`rows.json?scan=${scan}&ids=${idsOf(wanted)}`).catch(() => null); // the next change asks again
  if (answer && scan === list.scan) onRows(answer.rows.filter(row => !list.rows.has(row.index)));
}

// Indices as a short text.
export function idsOf(indices) {
  const marks = new Uint8Array(list.count);
  for (const i of indices) marks[i] = 1;
  return asRanges(marks);
}

// Scroll until the tile of a file is on the screen.
export function reveal(i) {
  if (!geometry) return; // in a tab that is not shown
  const top = Math.floor(list.place[i] / columns) * geometry.rowHeight, bottom = top + geometry.height;
  if (top < port.scrollTop) port.scrollTop = top;
  else if (bottom > port.scrollTop + port.clientHeight) port.scrollTop = bottom - port.clientHeight + 4;
  draw();
}
