// Mouse, keyboard and toolbar of the grid; after grid.js.
function open(i) {
  if (i === undefined || i < 0) return;
  opened = active = anchor = i;
  lastPlace = list.place[i];
  reveal(i);
  repaint();
  port.setAttribute('aria-activedescendant', `tile-${i}`);
  trigger('open', { id: `${list.scan}-${i}` });
}

function step(by) {
  const from = list.place[opened] ?? -1, last = list.shown.length - 1;
  // A file that has left what is shown, as a pending one that is done now, has its next one in its old place.
  const to = from >= 0 ? from + by : by > 0 ? lastPlace : lastPlace - 1;
  if (to >= 0 && to <= last && to !== from) open(list.shown[to]);
}

function focusOn(i, extend) {
  const from = list.place[anchor] >= 0 ? anchor : active;
  if (extend && list.place[from] >= 0) selectRange(list.place[from], list.place[i]);
  else anchor = i;
  active = i;
  port.setAttribute('aria-activedescendant', `tile-${i}`);
  reveal(i);
  repaint();
  if (extend) publish();
}

function toggle(i) {
  setSelected(i, !list.selected[i]);
  anchor = active = i;
  repaint();
  publish();
}

function select(which) {
  selectWhere(which);
  repaint();
  publish();
}

// Approve captions, or take that back: those of these files, or of the selected ones.
function approve(i, on) {
  const selected = i === undefined ? asRanges(each => list.selected[each]) : String(i);
  trigger('approve', { files: JSON.stringify({ scan: list.scan, selected, total: 1 }), on });
}

function editCaptions() {
  const number = n => n.toLocaleString('en'), chosen = new Uint8Array(list.count);
  for (const i of list.shown) chosen[i] = 1;
  const { numSelected, shown, count } = list, total = numSelected || shown.length;
  const selected = asRanges(i => (numSelected ? list.selected : chosen)[i]);
  const [all, which] = numSelected ? ['', 'selected '] : shown.length < count ? ['', 'shown '] : ['all ', ''];
  const scope = `In ${all}${number(total)} ${which}file${total === 1 ? '' : 's'}`;
  document.querySelector('#bulk [data-bulk]')?.bulk.open(JSON.stringify({ scan: list.scan, selected, total }), scope);
}

function filter(changes) {
  Object.assign(view, changes);
  if ('query' in changes) {
    if (searchBox.value !== view.query) searchBox.value = view.query;
    view.found = null;
    clearTimeout(searching);
    asked++;
    searching = words(view.query).length ? setTimeout(search, SEARCH_MS) : 0;
  }
  port.scrollTop = 0;
  refresh();
}

// Adds the files whose captions hold the words; their names were looked at in `arrange` already.
async function search() {
  const number = ++asked, scan = list.scan;
  searching ||= 1;
  const address = api(`search.json?scan=${scan}&q=${encodeURIComponent(view.query.slice(0, 500))}`);
  const answer = await fetch(address, { credentials: 'same-origin' }).catch(() => null);
  const found = answer?.ok ? (await answer.json()).ids : '';
  if (number !== asked || scan !== list.scan) return;
  searching = 0;
  view.found = fromRanges(found);
  refresh();
}

function sort(key, descending) {
  Object.assign(view, { key, descending });
  remember();
  showSort();
  port.scrollTop = 0;
  refresh();
}

function showSort() {
  $('.grid-sort select').value = view.key;
  const button = $('[data-act=direction]');
  button.setAttribute('aria-pressed', view.descending);
  button.title = view.descending ? 'Descending' : 'Ascending';
}

function setColumns(count) {
  columns = Math.max(1, Math.min(12, count));
  remember();
  layout();
}

function remember() {
  localStorage.setItem('vcs-grid', JSON.stringify({ columns, key: view.key, descending: view.descending }));
}

function unhover(tile) {
  tile.querySelector('video')?.remove();
}

function hover(tile, i) {
  const video = document.createElement('video');
  Object.assign(video, { muted: true, loop: true, playsInline: true, preload: 'auto', disablePictureInPicture: true });
  video.src = api(`media/${list.scan}-${i}`);
  video.addEventListener('error', () => video.remove()); // a format that browsers do not play keeps its picture
  tile.parts.img.after(video);
  video.play().catch(() => {});
}

const tileAt = event => event.target.closest?.('.grid-tile');
const indexOf = tile => Number(tile.id.slice(5));

canvas.addEventListener('mouseover', event => {
  const tile = tileAt(event);
  if (!tile || tile.querySelector('video') || !list.kinds[indexOf(tile)] || !event.target.closest('.grid-picture')) return;
  clearTimeout(hovering);
  const start = () => { if (tile.matches(':hover') && tile.isConnected) hover(tile, indexOf(tile)); };
  hovering = setTimeout(start, HOVER_MS);
});
canvas.addEventListener('mouseout', event => {
  const tile = tileAt(event);
  if (tile && !tile.contains(event.relatedTarget)) unhover(tile);
});
canvas.addEventListener('mousedown', event => { if (event.shiftKey) event.preventDefault(); }); // no text selection
canvas.addEventListener('click', event => {
  const tile = tileAt(event);
  if (!tile) return;
  const i = indexOf(tile);
  if (event.shiftKey && list.place[anchor] >= 0) {
    selectRange(list.place[anchor], list.place[i]);
    active = i;
    repaint();
    publish();
  } else if (event.ctrlKey || event.metaKey || event.target.closest('.grid-check')) toggle(i);
  else open(i);
});

port.addEventListener('keydown', event => {
  const rows = Math.max(1, Math.floor(port.clientHeight / (geometry?.rowHeight || 1))), last = list.shown.length - 1;
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -rows * columns,
    PageDown: rows * columns, Home: -Infinity, End: Infinity };
  if (event.altKey) return; // previous and next of the panel
  if (event.key in moves && last >= 0) {
    const from = list.place[active] ?? -1;
    const to = from < 0 ? 0 : Math.max(0, Math.min(last, from + moves[event.key]));
    focusOn(list.shown[to], event.shiftKey);
  } else if (event.key === ' ' && list.place[active] >= 0) toggle(active);
  else if (event.key === 'Enter' && list.place[active] >= 0) open(active);
  else if (event.key.toLowerCase() === 'a' && (event.ctrlKey || event.metaKey)) select('all');
  else if (event.key === 'a' && list.selected[active]) $('.grid-approve').click();
  else if (event.key === 'a' && list.place[active] >= 0) approve(active, !inState(active, 'approved'));
  else if (event.key === 'Escape') port.blur();
  else return;
  event.preventDefault();
});
port.addEventListener('focus', () => {
  if (active < 0 && list.shown.length && port.matches(':focus-visible')) focusOn(list.shown[0]);
});

element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  const { state, kind, select: which, act } = button.dataset;
  if (state) filter({ state });
  else if (kind) filter({ kind });
  else if (which) select(which);
  else if (act === 'direction') sort(view.key, !view.descending);
  else if (act === 'help') help(empty.dataset.why);
  else if (act === 'approve') approve(undefined, !button.dataset.off);
  else if (act === 'edit') editCaptions();
  else if (act === 'operations') document.querySelector('#history [data-history]')?.history.open();
});

function help(why) {
  if (why === 'match') filter({ query: '', state: 'all', kind: 'all' });
  else if (why === 'broken') load();
  else document.querySelector('#folder-bar [data-act=menu]')?.click();
}

searchBox.addEventListener('input', () => filter({ query: searchBox.value }));
searchBox.addEventListener('keydown', event => {
  if (event.key === 'Escape' && searchBox.value) filter({ query: '' });
  else if (event.key === 'Escape' || event.key === 'Enter' || event.key === 'ArrowDown') port.focus();
  else return;
  event.preventDefault();
});
$('.grid-sort select').addEventListener('change', event => sort(event.target.value, view.descending));
$('.grid-columns input').addEventListener('input', event => setColumns(Number(event.target.value)));

document.addEventListener('keydown', event => {
  const typing = event.target.closest?.('input, textarea, select, [contenteditable]');
  const combined = event.ctrlKey || event.metaKey || event.altKey;
  if (event.key !== '/' || typing || combined || !element.offsetParent) return; // no offsetParent: another tab
  event.preventDefault();
  searchBox.focus();
  searchBox.select();
});

port.addEventListener('scroll', () => { frame ||= requestAnimationFrame(draw); }, { passive: true });
new ResizeObserver(layout).observe(port);

// The panes fill the window from where they begin, whatever stands above them.
function fit() {
  const panes = element.closest('#panes');
  if (!panes?.offsetParent) return;
  panes.style.setProperty('--panes-top', `${Math.round(panes.getBoundingClientRect().top + scrollY)}px`);
}
const fitting = new ResizeObserver(fit);
const above = document.querySelectorAll('#run, #notices');
for (const watched of [document.body, element, ...above]) fitting.observe(watched);

watch(['scan', 'revision', 'changes', 'base', 'running', 'busy', 'existing'], sync);
element.dataset.grid = '';
element.grid = {
  select, filter, sort, open, step, columns: setColumns,
  opened: () => ({ folder: list.folder, name: list.names[opened] }),
  button() {
    const [value, interactive] = startText(props.existing, props.busy, tally());
    return { __type__: 'update', value, interactive };
  },
};
showSort();
fit();
load();
