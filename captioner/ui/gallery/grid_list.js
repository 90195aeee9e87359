// The files of the open folder as columns, and which of them are shown and selected. No DOM here; see grid.js.
const STATES = ['pending', 'done', 'failed', 'edited'];
const [PENDING, DONE, FAILED, EDITED] = [0, 1, 2, 3];
const FLAGS = { approved: 1, elsewhere: 2 }; // bits
const MAX_ROWS = 3000; // previews kept, so that memory does not grow with the folder
const list = {
  scan: '', revision: -1, folder: '', count: 0,
  names: [], kinds: [], sizes: [], times: [], states: [], flags: [], durations: [], lengths: [],
  rows: new Map(), // index -> {preview, problem}
  running: new Map(), // index -> tokens so far
  selected: new Uint8Array(0), numSelected: 0,
  shown: new Int32Array(0), // indices in the order of the screen
  place: new Int32Array(0), // index -> position in `shown`, or -1
};
const view = { query: '', state: 'all', kind: 'all', key: 'name', descending: false, found: null };

function setListing(data) {
  const before = data.folder === list.folder && data.scan !== list.scan && list.numSelected ? selectedNames() : null;
  const sameScan = data.scan === list.scan, count = data.names.length;
  if (!sameScan) {
    list.selected = new Uint8Array(count);
    list.numSelected = 0;
    view.found = null;
  }
  list.rows.clear();
  Object.assign(list, {
    scan: data.scan, revision: data.revision, folder: data.folder, count, names: data.names,
    kinds: Uint8Array.from(data.kinds), states: Uint8Array.from(data.states), flags: Uint8Array.from(data.flags),
    lengths: Uint32Array.from(data.lengths),
    sizes: Float64Array.from(data.sizes), times: Float64Array.from(data.times),
    durations: Float32Array.from(data.durations),
  });
  if (before) data.names.forEach((name, i) => { if (before.has(name)) setSelected(i, true); });
}

function selectedNames() {
  return new Set(list.names.filter((_, i) => list.selected[i]));
}

// What Python calls a row; false when the file is none of this list.
function applyRow(row) {
  const i = row.index;
  if (i >= list.count) return;
  list.states[i] = row.state;
  list.flags[i] = row.flags;
  list.durations[i] = row.duration;
  list.lengths[i] = row.length;
  list.rows.delete(i);
  list.rows.set(i, { preview: row.preview, problem: row.problem });
  if (list.rows.size > MAX_ROWS) list.rows.delete(list.rows.keys().next().value);
}

function inState(i, wanted) {
  if (wanted in FLAGS) return Boolean(list.flags[i] & FLAGS[wanted]);
  const state = list.states[i];
  if (wanted === 'done') return state === DONE || state === EDITED;
  return wanted === 'all' || state === STATES.indexOf(wanted);
}

function words(query) {
  return query.toLowerCase().split(' ').filter(Boolean);
}

function arrange() {
  const wanted = words(view.query), hits = [];
  for (let i = 0; i < list.count; i++) {
    if (!inState(i, view.state)) continue;
    if (view.kind !== 'all' && list.kinds[i] !== Number(view.kind === 'video')) continue;
    if (wanted.length && !view.found?.[i]) {
      const name = list.names[i].toLowerCase();
      if (!wanted.every(word => name.includes(word))) continue;
    }
    hits.push(i);
  }
  const column = { date: list.times, size: list.sizes, duration: list.durations, length: list.lengths }[view.key];
  const sign = view.descending ? -1 : 1;
  if (column) hits.sort((a, b) => sign * (column[a] - column[b]) || a - b);
  else if (view.descending) hits.reverse(); // the list comes in order of the names
  list.shown = Int32Array.from(hits);
  list.place = new Int32Array(list.count).fill(-1);
  hits.forEach((index, position) => { list.place[index] = position; });
}

function setSelected(index, on) {
  if (list.selected[index] === Number(on)) return;
  list.selected[index] = Number(on);
  list.numSelected += on ? 1 : -1;
}

// Replaces the selection by all that are shown and in a state; 'none' forgets it.
function selectWhere(which) {
  list.selected.fill(0);
  list.numSelected = 0;
  if (which !== 'none') for (const i of list.shown) if (inState(i, which)) setSelected(i, true);
}

function selectRange(from, to) {
  const [first, last] = from < to ? [from, to] : [to, from];
  for (let position = first; position <= last; position++) setSelected(list.shown[position], true);
}

// "0-4,7": any number of indices as a short text.
function asRanges(holds) {
  const parts = [];
  for (let i = 0; i < list.count; i++) {
    if (!holds(i)) continue;
    const first = i;
    while (i + 1 < list.count && holds(i + 1)) i++;
    parts.push(first === i ? first : first + '-' + i);
  }
  return parts.join(',');
}

function fromRanges(text) {
  const found = new Uint8Array(list.count);
  for (const part of text.split(',')) {
    if (!part) continue;
    const [first, last] = part.split('-').map(Number);
    found.fill(1, first, (last ?? first) + 1);
  }
  return found;
}

// How many files are in each state, with each flag and of each kind, and of the selected ones how many have a caption
// and how many of these are approved.
function tally() {
  const states = [0, 0, 0, 0], flags = [0, 0, 0, 0];
  let videos = 0, captioned = 0, locked = 0;
  for (let i = 0; i < list.count; i++) {
    states[list.states[i]]++;
    flags[list.flags[i]]++;
    videos += list.kinds[i];
    captioned += list.selected[i] && inState(i, 'done');
    locked += list.selected[i] && list.flags[i] & FLAGS.approved;
  }
  return { states, approved: flags[1] + flags[3], elsewhere: flags[2] + flags[3], videos, captioned, locked };
}

// What the start button would do: [its text, whether there is anything to do]. Beside a job it queues the selected files.
function startText(existing, busy, counts) {
  const [text, possible] = startsWith(existing, counts);
  if (!busy) return [text, possible];
  return list.numSelected ? [text.replace('Caption', 'Queue'), possible] : ['Select files to queue', false];
}

function startsWith(existing, { states, captioned, locked }) {
  const all = list.numSelected, number = count => count.toLocaleString('en');
  if (!list.count) return ['Caption', false];
  if (all && existing === 'skip') {
    const left = all - captioned;
    if (!left) return [all === 1 ? 'Has a caption' : 'All have captions', false];
    return [captioned ? `Caption ${number(left)} of ${number(all)} selected` : `Caption ${number(all)} selected`, true];
  }
  if (all && all === locked) return [all === 1 ? 'Is approved' : 'All are approved', false];
  if (all) {
    const some = locked ? `${number(all - locked)} of ${number(all)}` : number(all), old = captioned - locked;
    return [`Caption ${some} selected` + (old ? ` (${existing} ${number(old)})` : ''), true];
  }
  if (states[PENDING]) return [`Caption ${number(states[PENDING])} pending`, true];
  if (states[FAILED]) return [`Retry ${number(states[FAILED])} failed`, true];
  return ['Nothing pending', false];
}
