// Which files the grid shows, and what a person can do with them: the list that the app sends, its changes, the search,
// the filters and the order; opening, selecting and approving files.
import { showEmpty } from './empty.js';
import {
  FLAGS, applyRow, arrange, asRanges, checksum, countFiles, cursor, fromRanges, inState, list, moveCursor, selectRange,
  selectWhere, setListing, setSelected, view, words,
} from './files.js';
import { whisper } from './say.js';
import { tileId } from './tile.js';
import * as tiles from './tiles.js';
import { fetchJson, keepOverReload, number, plural } from '../common.js';

const SEARCH_MS = 80, MAX_QUERY = 500, OUTSIDE_MS = 3000;
const STORED = 'vcs-grid';
let element, port, props, trigger;
const viewers = []; // functions that show what changed
let loading = null, missed = false, broken = false; // missed: a change arrived while the list was loading
let kept = null; // what was shown before the page was loaded again, until it is shown again
let searching = 0, numSearches = 0; // the timer of a search, or 1 while its answer is awaited

// Show the files in a view, from `load` on; early.js does before there is a grid.
export function startView(given) {
  port = given;
  const { width = 0, fill = false, key = 'name', descending = false } = JSON.parse(localStorage.getItem(STORED) || '{}');
  kept = keepOverReload('gallery', whatIsShown);
  Object.assign(view, { key, descending }, kept?.filters);
  tiles.startScroller(port, width, take);
  port.classList.toggle('fill', fill);
}

// isDrawn: the view of the element was started before.
export async function startListing(gradio, isDrawn) {
  ({ element, props, trigger } = gradio);
  if (!isDrawn) startView(element.querySelector('.grid-view'));
  missed = Boolean(props.scan); // Python may have sent changes before this module was here
  setInterval(findOutsideChanges, OUTSIDE_MS);
  await loading;
  if (!list.scan) return load();
  refresh();
  showAgain();
  finishLoading();
}

// ---- the list and its changes ----
export const load = () => loading = fetchList();

async function fetchList() {
  const answer = await fetchJson('list.json').catch(() => null);
  broken = !answer;
  try {
    if (broken) showReason();
    else show(answer);
  } finally {
    loading = null;
    if (trigger) finishLoading();
  }
}

function finishLoading() {
  element.dataset.ready = list.count;
  if (missed) { missed = false; sync(); }
}

function show(answer) {
  const before = { ...list };
  setListing(answer);
  if (before.scan !== list.scan) moveCursor(before); // otherwise every file has the index that it had
  refresh();
  if (trigger) showAgain();
  tiles.settle();
  if (view.query) search();
}

// Show what other programs have changed in the captions of the files on the screen.
async function findOutsideChanges() {
  if (loading || !list.count || document.hidden || !element.offsetParent) return;
  const { scan } = list, seen = tiles.shownNow().concat(cursor.opened >= 0 ? cursor.opened : []);
  const answer = await fetchJson(`outside.json?scan=${scan}&ids=${tiles.idsOf(seen)}`).catch(() => null);
  if (answer?.rows.length && scan === list.scan) take(answer.rows);
}

function whatIsShown() {
  if (kept) return kept;
  const { query, state, kind, measured } = view, { folder, names } = list;
  return {
    filters: { query, state, kind, measured }, folder, names: checksum(names), selected: asRanges(list.selected),
    opened: names[cursor.opened], scroll: port.scrollTop,
  };
}

function showAgain() {
  const { folder, names, selected, opened, scroll } = kept ?? {};
  kept = null;
  if (folder !== list.folder) return;
  if (names === checksum(list.names)) fromRanges(selected).forEach((on, i) => setSelected(i, on));
  open(list.names.indexOf(opened));
  port.scrollTop = scroll;
  showChanges();
}

// Take over what Python sent. props.base: the revision that the changes start from, or -1 if they are not complete.
export function sync() {
  if (loading) { missed = true; return; }
  const isBehind = props.revision > list.revision && (props.base < 0 || props.base > list.revision);
  if (props.scan && (props.scan !== list.scan || isBehind)) { load(); return; }
  list.revision = Math.max(list.revision, props.revision);
  list.running = new Map(Object.entries(props.running).map(([i, tokens]) => [Number(i), tokens]));
  take(props.changes);
}

// Take over rows of some files. With a filter on, that may change which files are shown.
function take(rows) {
  const marks = view.state in FLAGS ? 'flags' : 'states', before = view.state === 'all' ? null : list[marks].slice();
  const measured = view.measured === 'all' ? null : list.measured.slice();
  rows.forEach(applyRow);
  if (before?.some((mark, i) => mark !== list[marks][i]) || measured?.some((bits, i) => bits !== list.measured[i])) refresh();
  else showChanges();
}

// Draw everything again: which files are shown, where, and how they look.
function refresh() {
  arrange();
  showChanges(tiles.layout());
  showReason();
}

function showReason() {
  if (!trigger) return; // the grid is not here yet
  const missing = !list.folder ? 'folder' : !list.count ? 'media' : list.shown.length || searching ? '' : 'match';
  showEmpty(element, broken ? 'broken' : missing);
}

// Draw again what may have changed of the shown files, send the selection to Python, and tell the viewers.
// fresh: the tiles that need it not.
function showChanges(fresh = null) {
  tiles.repaint(fresh);
  if (!trigger) return;
  const value = selection();
  if (props.value !== value) {
    const isFirst = !props.value;
    props.value = value;
    if (!isFirst) whisper(list.numSelected ? `${number(list.numSelected)} of ${plural(list.count, 'file')} selected` : 'No file selected');
  }
  tellViewers(viewers);
}

function tellViewers(those) {
  if (!trigger) return;
  const { existing, busy } = props, counts = countFiles(), selected = asRanges(list.selected);
  for (const show of those) show({ counts, selected, existing, busy, columns: tiles.numColumns() });
}

// Call `show` now and whenever the list, the selection or what is shown of it has changed.
export function onChange(show) {
  viewers.push(show);
  tellViewers([show]);
}

// The selected files as Python reads them.
export function selection() {
  const { scan, numSelected: total } = list;
  return JSON.stringify({ scan, selected: asRanges(list.selected), total });
}

// ---- search, filters, order ----
// changes: new values of `view`.
export function filter(changes) {
  Object.assign(view, changes);
  if ('query' in changes) {
    view.found = null;
    clearTimeout(searching);
    numSearches++;
    searching = words(view.query).length ? setTimeout(search, SEARCH_MS) : 0;
  }
  tiles.scrollToTop();
  refresh();
}

// Show these files alone, given as ranges of indices, until the filter is removed. label: what they have in common.
export function showOnly(label, ranges) {
  filter({ query: '', state: 'all', kind: 'all', measured: 'all', only: { label, marks: fromRanges(ranges) } });
}

// Add the files whose captions contain the words. `arrange` has compared the names.
async function search() {
  const number = ++numSearches, scan = list.scan;
  searching ||= 1;
  const path = `search.json?scan=${scan}&q=${encodeURIComponent(view.query.slice(0, MAX_QUERY))}`;
  const answer = await fetchJson(path).catch(() => null);
  if (number !== numSearches || scan !== list.scan) return;
  searching = 0;
  view.found = fromRanges(answer?.ids ?? '');
  refresh();
}

export function sort(key, descending) {
  filter({ key, descending });
  remember();
}

export function setColumns(count) {
  tiles.setColumns(count);
  remember();
  tellViewers(viewers);
}

export const isFilled = () => port.classList.contains('fill');

// Show whole pictures, or parts of them that fill their tiles (true).
export function toggleFill() {
  port.classList.toggle('fill');
  remember();
  return isFilled();
}

function remember() {
  const { key, descending } = view, fill = isFilled();
  localStorage.setItem(STORED, JSON.stringify({ width: tiles.tileWidth(), fill, key, descending }));
}

// ---- opening and selecting ----
export const openedFile = () => ({ folder: list.folder, name: list.names[cursor.opened] });
export const focusGrid = () => port?.focus();

function moveTo(i) {
  cursor.active = i;
  tiles.reveal(i);
  tiles.repaint();
  port.setAttribute('aria-activedescendant', tileId(i));
}

export function open(i) {
  if (i === undefined || i < 0) return;
  cursor.opened = cursor.anchor = i;
  cursor.lastPlace = list.place[i];
  moveTo(i);
  trigger('open', { id: `${list.scan}-${i}`, ...openedFile() });
}

export function close() {
  cursor.opened = -1;
  tiles.repaint();
}

// Open the next (1) or the previous (-1) file; return whether there is one.
export function step(by) {
  const from = list.place[cursor.opened] ?? -1, last = list.shown.length - 1;
  // A file that is no longer shown, such as a pending one that is done now, was replaced in its place by the next one.
  const to = from >= 0 ? from + by : by > 0 ? cursor.lastPlace : cursor.lastPlace - 1;
  const isThere = to >= 0 && to <= last && to !== from;
  if (isThere) open(list.shown[to]);
  return isThere;
}

// Move the focus to a file; extend: select everything on the way.
export function focusOn(i, extend = false) {
  const from = list.place[cursor.anchor] >= 0 ? cursor.anchor : cursor.active;
  if (extend && list.place[from] >= 0) selectRange(list.place[from], list.place[i]);
  else cursor.anchor = i;
  moveTo(i);
  if (extend) showChanges();
}

export function selectTo(i) {
  selectRange(list.place[cursor.anchor], list.place[i]);
  cursor.active = i;
  showChanges();
}

export function toggle(i) {
  setSelected(i, !list.selected[i]);
  cursor.anchor = cursor.active = i;
  showChanges();
}

export function select(which) {
  selectWhere(which);
  showChanges();
}

// Approve captions, or take that back. selected: indices as ranges; those of the selected files by default.
export function approve(on, selected = asRanges(list.selected)) {
  trigger('approve', { files: JSON.stringify({ scan: list.scan, selected, total: 1 }), on });
}

// Star or reject files, or remove their marks (''); the selected ones if `i` is among them.
export function mark(i, mark) {
  const selected = list.selected[i] ? asRanges(list.selected) : String(i);
  trigger('mark', { files: JSON.stringify({ scan: list.scan, selected, total: 1 }), mark });
}

export const toggleApproved = i => approve(!inState(i, 'approved'), String(i));
