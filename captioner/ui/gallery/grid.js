// The virtual grid on the screen. Runs in gr.HTML's js_on_load, after grid_list.js: (element, trigger, props, watch).
// Python writes props; nothing that a file or a person named ever becomes HTML or code here, only textContent.
const $ = selector => element.querySelector(selector);
const port = $('.grid-view'), canvas = $('.grid-canvas'), empty = $('.grid-empty'), searchBox = $('.grid-search input');
const root = (window.gradio_config?.root || '').replace(/\/$/, '');
const api = path => `${root}/gradio_api/vcs/${path}`;
const GAP = 12, INFO = 72, OVERSCAN = 1, SETTLE_MS = 60, HOVER_MS = 150, SEARCH_MS = 80;
const EMPTY = {
  folder: ['No folder is open', 'Type the path of a folder of videos and images above, or look for one.',
    'Browse folders'],
  media: ['No videos or images here',
    'Include the subfolders or both kinds, copy some files here and refresh, or choose another folder.',
    'Choose another folder'],
  match: ['Nothing matches', 'No file has these words and this status.', 'Show all files'],
  broken: ['The list cannot be fetched', 'The app may have been stopped. Start it again, then try once more.',
    'Try again'],
};
const live = new Map(), pool = []; // index -> tile on the screen; tiles to use again
const memory = JSON.parse(localStorage.getItem('vcs-grid') || '{}');
let columns = memory.columns || 0, geometry = null, active = -1, anchor = -1, opened = -1, lastPlace = 0;
let frame = 0, settling = 0, hovering = 0, searching = 0, asked = 0, loading = false, missed = false, broken = false;
Object.assign(view, { key: memory.key || 'name', descending: Boolean(memory.descending) });

// ---- tiles ----
function newTile() {
  const tile = document.createElement('div');
  tile.className = 'grid-tile';
  tile.setAttribute('role', 'option');
  tile.innerHTML = '<div class="grid-picture"><img alt="" decoding="async" draggable="false"><i class="grid-check"></i>' +
    '<i class="grid-badge"></i><i class="grid-lock" title="Approved"></i><span class="grid-time"></span>' +
    '<span class="grid-outside"></span></div><b></b><p></p>';
  const [pic, name, text] = tile.children, [img, , badge, , time, elsewhere] = pic.children;
  return Object.assign(tile, { parts: { pic, img, badge, time, elsewhere, name, text } });
}

function clock(seconds) {
  const whole = Math.round(seconds), pad = n => String(n).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, pad(whole % 60)];
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

function paint(tile, i) {
  const { img, badge, time, elsewhere, name, text } = tile.parts;
  const state = STATES[list.states[i]], row = list.rows.get(i);
  if (tile.dataset.id !== `${list.scan}-${i}`) {
    img.removeAttribute('src'); // else the picture of another file shows until this one's is here
    unhover(tile);
    tile.dataset.id = `${list.scan}-${i}`;
    tile.id = `tile-${i}`;
    name.textContent = name.title = list.names[i];
  }
  const approved = inState(i, 'approved'), changed = inState(i, 'elsewhere') ? 'Changed elsewhere' : '';
  tile.dataset.state = state;
  tile.classList.toggle('approved', approved);
  elsewhere.textContent = elsewhere.title = changed;
  tile.setAttribute('aria-selected', Boolean(list.selected[i]));
  tile.setAttribute('aria-posinset', list.place[i] + 1);
  tile.setAttribute('aria-setsize', list.shown.length);
  tile.classList.toggle('open', i === opened);
  tile.classList.toggle('active', i === active);
  badge.title = state[0].toUpperCase() + state.slice(1);
  time.textContent = list.durations[i] ? clock(list.durations[i]) : '';
  const problem = row?.problem || '';
  text.className = problem ? 'bad' : row?.preview ? '' : 'none';
  text.textContent = problem || row?.preview || (state === 'pending' ? 'No caption yet' : '');
  text.title = problem;
  const label = [list.names[i], state, approved && 'approved', changed, problem];
  tile.setAttribute('aria-label', label.filter(Boolean).join(', '));
  paintRun(tile, list.running.get(i));
}

function paintRun(tile, tokens) {
  const over = tile.querySelector('.grid-running');
  if (tokens === undefined) return over?.remove();
  const text = tokens ? `${tokens} token${tokens === 1 ? '' : 's'}` : 'Reading frames…';
  if (over) { over.firstChild.textContent = text; return; }
  const fresh = document.createElement('div');
  fresh.className = 'grid-running';
  fresh.append(Object.assign(document.createElement('span'), { textContent: text }), document.createElement('i'));
  tile.parts.pic.append(fresh);
}

const repaint = () => { for (const [i, tile] of live) paint(tile, i); };

// ---- where they stand ----
function place(tile, i) {
  const position = list.place[i], { width, height, rowHeight } = geometry;
  const x = (position % columns) * (width + GAP), y = Math.floor(position / columns) * rowHeight;
  tile.style.transform = `translate(${x}px, ${y}px)`;
  tile.style.width = `${width}px`;
  tile.style.height = `${height}px`;
}

function layout() {
  if (!port.clientWidth) return; // in a tab that is not shown
  columns ||= Math.max(2, Math.min(8, Math.round(port.clientWidth / 220)));
  $('.grid-columns input').value = columns;
  const width = (port.clientWidth - 4 - (columns - 1) * GAP) / columns, height = width * 9 / 16 + INFO;
  // What stood at the top stays there when the width or the number of columns changes.
  const first = geometry ? list.shown[Math.floor(port.scrollTop / geometry.rowHeight) * geometry.columns] : undefined;
  geometry = { width, height, rowHeight: height + GAP, columns };
  canvas.style.height = `${Math.max(0, Math.ceil(list.shown.length / columns) * geometry.rowHeight - GAP)}px`;
  if (port.scrollTop && list.place[first] > 0) {
    port.scrollTop = Math.floor(list.place[first] / columns) * geometry.rowHeight;
  }
  for (const [i, tile] of live) if (list.place[i] >= 0) place(tile, i);
  draw();
}

function draw() {
  frame = 0;
  if (!geometry) return;
  const top = Math.floor(port.scrollTop / geometry.rowHeight) - OVERSCAN;
  const bottom = Math.ceil((port.scrollTop + port.clientHeight) / geometry.rowHeight) + OVERSCAN;
  const first = Math.max(0, top) * columns, last = Math.min(list.shown.length, bottom * columns);
  for (const [i, tile] of live) {
    if (list.place[i] >= first && list.place[i] < last) continue;
    live.delete(i);
    tile.remove();
    tile.dataset.id = '';
    if (pool.length < 100) pool.push(tile);
  }
  const fresh = document.createDocumentFragment();
  for (let position = first; position < last; position++) {
    const i = list.shown[position];
    if (live.has(i)) continue;
    const tile = pool.pop() || newTile();
    paint(tile, i);
    place(tile, i);
    live.set(i, tile);
    fresh.append(tile);
  }
  canvas.append(fresh);
  settling ||= setTimeout(settle, SETTLE_MS);
}

// Pictures and previews are fetched when scrolling has come to rest, for what is then on the screen.
async function settle() {
  clearTimeout(settling);
  settling = 0;
  for (const [i, tile] of live) {
    const address = api(`thumb/${list.scan}-${i}.jpg?v=${list.times[i]}`);
    if (tile.parts.img.getAttribute('src') !== address) tile.parts.img.src = address;
  }
  const scan = list.scan, wanted = [...live.keys()].filter(i => !list.rows.has(i)).slice(0, 400);
  if (!wanted.length) return;
  const ids = asRanges(Set.prototype.has.bind(new Set(wanted)));
  const address = api(`rows.json?scan=${scan}&ids=${ids}`);
  const answer = await fetch(address, { credentials: 'same-origin' }).catch(() => null);
  if (!answer?.ok || scan !== list.scan) return;
  take((await answer.json()).rows.filter(row => !list.rows.has(row.index)));
}

// News of some files, which may change what is shown and how many there are of everything.
function take(rows) {
  const marks = view.state in FLAGS ? 'flags' : 'states', before = view.state === 'all' ? null : list[marks].slice();
  rows.forEach(applyRow);
  if (before?.some((mark, i) => mark !== list[marks][i])) refresh();
  else { repaint(); publish(); }
}

function reveal(i) {
  const top = Math.floor(list.place[i] / columns) * geometry.rowHeight, bottom = top + geometry.height;
  if (top < port.scrollTop) port.scrollTop = top;
  else if (bottom > port.scrollTop + port.clientHeight) port.scrollTop = bottom - port.clientHeight + 4;
  draw();
}

// ---- the list and its changes ----
async function load() {
  loading = true;
  try {
    const answer = await fetch(api('list.json'), { credentials: 'same-origin' });
    if (!answer.ok) throw new Error(answer.statusText);
    const name = list.names[opened], before = { folder: list.folder, scan: list.scan };
    setListing(await answer.json());
    if (before.scan !== list.scan) { // else all numbers are what they were
      opened = before.folder === list.folder && name !== undefined ? list.names.indexOf(name) : -1;
      active = anchor = opened;
    }
    broken = false;
    refresh();
    settle();
    if (view.query) search();
  } catch {
    broken = true;
    showEmpty();
  }
  loading = false;
  element.dataset.ready = list.count;
  if (missed) { missed = false; sync(); }
}

// base: the revision that `changes` start from; -1 when they do not lead there from anywhere.
function sync() {
  if (loading) { missed = true; return; }
  const behind = props.revision > list.revision && (props.base < 0 || props.base > list.revision);
  if (props.scan && (props.scan !== list.scan || behind)) { load(); return; }
  list.revision = Math.max(list.revision, props.revision);
  list.running = new Map(Object.entries(props.running).map(([i, tokens]) => [Number(i), tokens]));
  take(props.changes);
}

function refresh() {
  arrange();
  layout();
  repaint();
  publish();
  showEmpty();
}

function showEmpty() {
  const nothing = !list.folder ? 'folder' : !list.count ? 'media' : list.shown.length || searching ? '' : 'match';
  const why = broken ? 'broken' : nothing;
  empty.hidden = !why;
  port.classList.toggle('blank', Boolean(why));
  if (!why) return;
  empty.dataset.why = why;
  const [title, hint, button] = EMPTY[why];
  empty.querySelector('b').textContent = title;
  empty.querySelector('p').textContent = hint;
  empty.querySelector('button').textContent = button;
}

function publishZip(selected, count) {
  const zip = $('.grid-zip'), long = selected.length >= 6000; // such do not fit into an address
  const what = list.numSelected ? `the captions of ${list.numSelected.toLocaleString('en')} selected` : 'all captions';
  zip.title = long ? 'The selected files lie too far apart for one download; select fewer, or none for all captions'
    : count ? `Download ${what}` : 'No captions to download';
  zip.setAttribute('aria-disabled', long || !count);
  if (long || !count) zip.removeAttribute('href');
  else zip.href = api(`captions.zip?scan=${list.scan}${selected && `&ids=${selected}`}`);
}

// Tells Python the selection, and the page what there is of everything.
function publish() {
  const selected = asRanges(i => list.selected[i]), counts = tally(), number = n => n.toLocaleString('en');
  const value = JSON.stringify({ scan: list.scan, selected, total: list.numSelected });
  if (props.value !== value) props.value = value;
  const [pending, done, failed, edited] = counts.states;
  const { approved, elsewhere, locked, captioned } = counts;
  const shownCounts = { all: list.count, pending, done: done + edited, failed, edited, approved, elsewhere };
  for (const button of element.querySelectorAll('[data-state][aria-pressed]')) {
    button.querySelector('i').textContent = number(shownCounts[button.dataset.state]);
    button.setAttribute('aria-pressed', button.dataset.state === view.state);
  }
  for (const button of element.querySelectorAll('[data-kind]')) {
    const count = { video: counts.videos, image: list.count - counts.videos }[button.dataset.kind];
    if (count !== undefined) button.querySelector('i').textContent = number(count);
    button.setAttribute('aria-pressed', button.dataset.kind === view.kind);
  }
  const parts = list.shown.length < list.count ? [`${number(list.shown.length)} shown`] : [];
  if (list.numSelected) parts.push(`${number(list.numSelected)} selected`);
  $('.grid-selected').textContent = parts.join(' · ') || 'Select';
  publishZip(selected, list.numSelected ? captioned : done + edited);
  const approve = $('.grid-approve'), off = captioned > 0 && locked === captioned;
  approve.disabled = !captioned;
  approve.dataset.off = off ? '1' : '';
  approve.lastElementChild.textContent = off ? 'Unapprove' : 'Approve';
  approve.title = !captioned ? 'Select captions to approve them (A)'
    : off ? 'Let runs and bulk edits change them again (A)'
    : 'Lock the selected captions: no run and no bulk edit touches them (A)';
  const [text] = startText(props.existing, props.busy, counts);
  if (document.querySelector('#start')?.textContent.trim() !== text || element.dataset.busy !== String(props.busy)) {
    element.dataset.busy = props.busy;
    trigger('relabel', {});
  }
}
