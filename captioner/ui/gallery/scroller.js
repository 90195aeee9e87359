// The virtual scroller: only the tiles on the screen exist, however many files there are.
import { asRanges, list } from './files.js';
import { newTile, paint } from './tiles.js';
import { address, fetchJson } from '../requests.js';

const GAP = 12, INFO_HEIGHT = 72, OVERSCAN_ROWS = 1, MAX_POOL = 100, MAX_ROWS = 400;
const SETTLE_MS = 60;
const live = new Map(), pool = []; // index -> tile on the screen; tiles to use again
let port, canvas, slider, onRows, geometry = null, columns = 0, frame = 0, settling = 0;

// port: the element that scrolls; onRows(rows): takes what was fetched of the files on the screen.
export function startScroller(element, chosenColumns, whenRows) {
  port = element.querySelector('.grid-view');
  canvas = element.querySelector('.grid-canvas');
  slider = element.querySelector('.grid-columns input');
  [columns, onRows] = [chosenColumns, whenRows];
  port.addEventListener('scroll', () => { frame ||= requestAnimationFrame(draw); }, { passive: true });
  new ResizeObserver(layout).observe(port);
}

export const scrollToTop = () => { port.scrollTop = 0; };
export const numColumns = () => columns;
export const numRowsOnScreen = () => Math.max(1, Math.floor(port.clientHeight / (geometry?.rowHeight || 1)));
export const repaint = () => { for (const [i, tile] of live) paint(tile, i); };

export function setColumns(count) {
  columns = Math.max(1, Math.min(12, count));
  layout();
}

function place(tile, i) {
  const position = list.place[i], { width, height, rowHeight } = geometry;
  const x = (position % columns) * (width + GAP), y = Math.floor(position / columns) * rowHeight;
  tile.style.transform = `translate(${x}px, ${y}px)`;
  tile.style.width = `${width}px`;
  tile.style.height = `${height}px`;
}

export function layout() {
  if (!port.clientWidth) return; // in a tab that is not shown
  columns ||= Math.max(2, Math.min(8, Math.round(port.clientWidth / 220)));
  slider.value = columns;
  const width = (port.clientWidth - 4 - (columns - 1) * GAP) / columns, height = width * 9 / 16 + INFO_HEIGHT;
  // The file at the top stays there when the width or the number of columns changes.
  const first = geometry ? list.shown[Math.floor(port.scrollTop / geometry.rowHeight) * geometry.columns] : undefined;
  geometry = { width, height, rowHeight: height + GAP, columns };
  canvas.style.height = `${Math.max(0, Math.ceil(list.shown.length / columns) * geometry.rowHeight - GAP)}px`;
  if (port.scrollTop && list.place[first] > 0) {
    port.scrollTop = Math.floor(list.place[first] / columns) * geometry.rowHeight;
  }
  for (const [i, tile] of live) if (list.place[i] >= 0) place(tile, i);
  draw();
}

export function draw() {
  frame = 0;
  if (!geometry) return;
  const top = Math.floor(port.scrollTop / geometry.rowHeight) - OVERSCAN_ROWS;
  const bottom = Math.ceil((port.scrollTop + port.clientHeight) / geometry.rowHeight) + OVERSCAN_ROWS;
  const first = Math.max(0, top) * columns, last = Math.min(list.shown.length, bottom * columns);
  for (const [i, tile] of live) {
    if (list.place[i] >= first && list.place[i] < last) continue;
    live.delete(i);
    tile.remove();
    tile.dataset.id = '';
    if (pool.length < MAX_POOL) pool.push(tile);
  }
  const added = document.createDocumentFragment();
  for (let position = first; position < last; position++) {
    const i = list.shown[position];
    if (live.has(i)) continue;
    const tile = pool.pop() || newTile();
    paint(tile, i);
    place(tile, i);
    live.set(i, tile);
    added.append(tile);
  }
  canvas.append(added);
  settling ||= setTimeout(settle, SETTLE_MS);
}

// Fetch pictures and captions for the tiles on the screen. This waits until scrolling has come to rest.
export async function settle() {
  clearTimeout(settling);
  settling = 0;
  for (const [i, tile] of live) {
    const source = address(`thumb/${list.scan}-${i}.jpg?v=${list.times[i]}`), { img } = tile.parts;
    if (img.getAttribute('src') !== source) img.src = source;
  }
  const scan = list.scan, wanted = [...live.keys()].filter(i => !list.rows.has(i)).slice(0, MAX_ROWS);
  if (!wanted.length) return;
  const marks = new Uint8Array(list.count);
  for (const i of wanted) marks[i] = 1;
  const ids = asRanges(marks);
  const answer = await fetchJson(`rows.json?scan=${scan}&ids=${ids}`).catch(() => null); // the next change asks again
  if (answer && scan === list.scan) onRows(answer.rows.filter(row => !list.rows.has(row.index)));
}

// Scroll until the tile of a file is on the screen.
export function reveal(i) {
  const top = Math.floor(list.place[i] / columns) * geometry.rowHeight, bottom = top + geometry.height;
  if (top < port.scrollTop) port.scrollTop = top;
  else if (bottom > port.scrollTop + port.clientHeight) port.scrollTop = bottom - port.clientHeight + 4;
  draw();
}
