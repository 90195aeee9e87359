// Which files the grid shows: the list that the app sends, its changes, the search, the filters and the order.
import {
  FLAGS, applyRow, arrange, asRanges, countFiles, cursor, fromRanges, list, setListing, view, words,
} from './files.js';
import * as scroller from './scroller.js';
import { startLabel } from './start_button.js';
import { showEmpty, showSort, showToolbar } from './toolbar.js';
import { fetchJson } from '../requests.js';

const SEARCH_MS = 80, MAX_QUERY = 500;
const STORED = 'vcs-grid';
let element, props, trigger;
let loading = false, missed = false, broken = false; // missed: a change arrived while the list was loading
let searching = 0, numSearches = 0; // the timer of a search, or 1 while its answer is awaited

export function startListing(gradio) {
  ({ element, props, trigger } = gradio);
  const { columns = 0, key = 'name', descending = false } = JSON.parse(localStorage.getItem(STORED) || '{}');
  Object.assign(view, { key, descending });
  missed = Boolean(props.scan); // Python may have sent changes before this module was here
  scroller.startScroller(element, columns, take);
}

// ---- the list and its changes ----
export async function load() {
  loading = true;
  try {
    const openedName = list.names[cursor.opened], before = { folder: list.folder, scan: list.scan };
    setListing(await fetchJson('list.json'));
    if (before.scan !== list.scan) { // otherwise every file has the index that it had
      const isSameFolder = before.folder === list.folder && openedName !== undefined;
      cursor.opened = cursor.active = cursor.anchor = isSameFolder ? list.names.indexOf(openedName) : -1;
    }
    broken = false;
    refresh();
    scroller.settle();
    if (view.query) search();
  } catch {
    broken = true;
    showReason();
  }
  loading = false;
  element.dataset.ready = list.count;
  if (missed) { missed = false; sync(); }
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
  rows.forEach(applyRow);
  if (before?.some((mark, i) => mark !== list[marks][i])) refresh();
  else showChanges();
}

// Draw everything again: which files are shown, where, and how they look.
function refresh() {
  arrange();
  scroller.layout();
  showChanges();
  showReason();
}

// Draw again what may have changed of the files that are shown.
export function showChanges() {
  scroller.repaint();
  publish();
}

function showReason() {
  const missing = !list.folder ? 'folder' : !list.count ? 'media' : list.shown.length || searching ? '' : 'match';
  showEmpty(broken ? 'broken' : missing);
}

// Send the selection to Python, and show on the page how many files there are of everything.
function publish() {
  const selected = asRanges(list.selected), counts = countFiles();
  const value = JSON.stringify({ scan: list.scan, selected, total: list.numSelected });
  if (props.value !== value) props.value = value;
  showToolbar(counts, selected);
  const [label] = startLabel(props.existing, props.busy, counts);
  if (document.querySelector('#start')?.textContent.trim() !== label || element.dataset.busy !== String(props.busy)) {
    element.dataset.busy = props.busy;
    trigger('relabel', {});
  }
}

// The update of Gradio's start button.
export function startButton() {
  const [value, interactive] = startLabel(props.existing, props.busy, countFiles());
  return { __type__: 'update', value, interactive };
}

// ---- search, filters, order ----
// changes: new values of `view`.
export function filter(changes) {
  Object.assign(view, changes);
  if ('query' in changes) {
    const box = element.querySelector('.grid-search input');
    if (box.value !== view.query) box.value = view.query;
    view.found = null;
    clearTimeout(searching);
    numSearches++;
    searching = words(view.query).length ? setTimeout(search, SEARCH_MS) : 0;
  }
  scroller.scrollToTop();
  refresh();
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
  Object.assign(view, { key, descending });
  remember();
  showSort();
  scroller.scrollToTop();
  refresh();
}

export function setColumns(count) {
  scroller.setColumns(count);
  remember();
}

function remember() {
  const { key, descending } = view;
  localStorage.setItem(STORED, JSON.stringify({ columns: scroller.numColumns(), key, descending }));
}
