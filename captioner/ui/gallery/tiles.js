// The tiles of the grid. Only those on the screen exist, however many files there are.
import { STATES, asRanges, cursor, inState, list } from './files.js';
import { address, capitalize, clock, fetchJson, make, plural } from '../common.js';

const GAP = 12, INFO_HEIGHT = 72, OVERSCAN_ROWS = 1, MAX_POOL = 100, MAX_ROWS = 400, SETTLE_MS = 60;
const TEMPLATE = make('template', {
  innerHTML: '<div class="grid-tile" role="option"><div class="grid-picture">' +
    '<img alt="" decoding="async" draggable="false"><i class="grid-check"></i><i class="grid-badge"></i>' +
    '<i class="grid-lock" title="Approved"></i><span class="grid-time"></span><span class="grid-outside"></span>' +
    '</div><b></b><p></p></div>',
});
const live = new Map(), pool = []; // index -> tile on the screen; tiles to use again
let port, canvas, onRows, geometry = null, columns = 0, frame = 0, settling = 0;

// ---- one tile ----
export const tileId = index => `tile-${index}`;
export const tileAt = event => event.target.closest?.('.grid-tile');
export const indexOf = tile => Number(tile.id.slice('tile-'.length));

function newTile() {
  const tile = TEMPLATE.content.firstChild.cloneNode(true);
  const [picture, name, text] = tile.children, [img, , badge, , time, outside] = picture.children;
  return Object.assign(tile, { parts: { picture, img, badge, time, outside, name, text } });
}

function paint(tile, i) {
  const { parts } = tile, state = STATES[list.states[i]], row = list.rows.get(i), problem = row?.problem || '';
  const approved = inState(i, 'approved'), flaw = inState(i, 'flawed') && row?.flaw;
  const outside = inState(i, 'outside') ? 'Changed outside' : row?.doubt ? 'Check characters'
    : !flaw ? '' : flaw.startsWith('was') ? 'Cut off' : 'Repeats itself';
  if (tile.dataset.id !== `${list.scan}-${i}`) reuse(tile, i);
  tile.dataset.state = state;
  tile.classList.toggle('approved', approved);
  tile.classList.toggle('open', i === cursor.opened);
  tile.classList.toggle('active', i === cursor.active);
  tile.setAttribute('aria-selected', Boolean(list.selected[i]));
  tile.setAttribute('aria-posinset', list.place[i] + 1);
  tile.setAttribute('aria-setsize', list.shown.length);
  const label = [list.names[i], state, approved && 'approved', outside, problem];
  tile.setAttribute('aria-label', label.filter(Boolean).join(', '));
  parts.outside.textContent = outside;
  parts.outside.title = row?.doubt ? `This caption is ${row.doubt}` : flaw ? `This caption ${flaw}` : outside;
  parts.badge.title = capitalize(state);
  parts.time.textContent = list.durations[i] ? clock(list.durations[i]) : '';
  parts.text.className = problem ? 'bad' : row?.preview ? '' : 'none';
  parts.text.textContent = problem || row?.preview || (state === 'pending' ? 'No caption yet' : '');
  parts.text.title = problem;
  paintRunning(tile, list.running.get(i));
}

function reuse(tile, i) {
  tile.parts.img.removeAttribute('src'); // otherwise the picture of the file before shows until this one has loaded
  stopVideo(tile);
  tile.dataset.id = `${list.scan}-${i}`;
  tile.id = tileId(i);
  tile.parts.name.textContent = tile.parts.name.title = list.names[i];
}

// tokens: how many are written so far; undefined if the file is not being captioned.
function paintRunning(tile, tokens) {
  const shown = tile.querySelector('.grid-running');
  if (tokens === undefined) return shown?.remove();
  const text = tokens ? plural(tokens, 'token') : 'Reading frames…';
  if (shown) shown.firstChild.textContent = text;
  else tile.parts.picture.append(make('div', { className: 'grid-running' }, make('span', {}, text), make('i')));
}

export const stopVideo = tile => tile.querySelector('video')?.remove();

export function playVideo(tile, i) {
  const options = { muted: true, loop: true, playsInline: true, preload: 'auto', disablePictureInPicture: true };
  const video = make('video', { ...options, src: address(`media/${list.scan}-${i}`) });
  video.addEventListener('error', () => video.remove()); // a format that browsers do not play keeps its picture
  tile.parts.img.after(video);
  video.play().catch(() => {});
}

// ---- the scroller ----
// port: the element that scrolls; onRows(rows): takes what was fetched of the files on the screen.
export function startScroller(element, chosenColumns, whenRows) {
  port = element.querySelector('.grid-view');
  canvas = element.querySelector('.grid-canvas');
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
  if (!geometry) return; // in a tab that is not shown
  const top = Math.floor(list.place[i] / columns) * geometry.rowHeight, bottom = top + geometry.height;
  if (top < port.scrollTop) port.scrollTop = top;
  else if (bottom > port.scrollTop + port.clientHeight) port.scrollTop = bottom - port.clientHeight + 4;
  draw();
}
