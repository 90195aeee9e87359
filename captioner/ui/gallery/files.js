// The files of the open folder as columns, and which of them are shown and selected. No DOM here.
export const STATES = ['pending', 'done', 'failed', 'edited'];
export const [PENDING, DONE, FAILED, EDITED] = [0, 1, 2, 3]; // indices in STATES
// Bits. outside: changed by another program; flawed: a job or the linter found a fault; star, reject: marked by a person.
export const FLAGS = { approved: 1, outside: 2, flawed: 4, star: 8, reject: 16 };
// Bits of what was measured in a clip, in this order.
export const MEASURED = ['static', 'moving', 'one-shot', 'cuts', 'sound', 'silent', 'black'];
const orders = new Map(); // key of the order -> all indices in it, both ways; sorting takes longer than all the rest
let counted = null; // how many files have each state, flag and kind, until one changes
const MAX_ROWS = 3000; // previews kept, so that memory does not grow with the folder
export const list = {
  scan: '', revision: -1, folder: '', count: 0, hasFolders: false, // whether some files lie in subfolders
  names: [], kinds: [], sizes: [], times: [], states: [], flags: [], measured: [], durations: [], lengths: [],
  scores: [], // how well a caption agrees with its file, 0 to 1; -1: not known
  rows: new Map(), // index -> {preview, problem, doubt, flaw}
  running: new Map(), // index -> tokens so far
  selected: new Uint8Array(0), numSelected: 0,
  shown: new Int32Array(0), // indices in the order of the screen
  place: new Int32Array(0), // index -> position in `shown`, or -1
};
export const view = { query: '', state: 'all', kind: 'all', measured: 'all', key: 'name', descending: false, found: null,
  only: null, // {label, marks}: the files of a finding of the Dataset tab, marked by index
};
// Indices of the file in the panel, of the one with the keyboard focus and of the one where a range begins, or -1;
// and the place where the opened file stood last.
export const cursor = { opened: -1, active: -1, anchor: -1, lastPlace: 0 };

// Take over the list that the app sent. Files that were selected in the same folder stay selected.
export function setListing(data) {
  const isNew = data.scan !== list.scan, { scan, revision, folder, names } = data, count = names.length;
  const keeps = isNew && folder === list.folder && list.numSelected > 0;
  const before = new Set(keeps ? list.names.filter((_, i) => list.selected[i]) : []);
  if (isNew) {
    list.selected = new Uint8Array(count);
    list.numSelected = 0;
    view.found = view.only = null;
  }
  list.rows.clear();
  orders.clear();
  counted = null;
  Object.assign(list, {
    scan, revision, folder, count, names, hasFolders: names.some(name => name.includes('/')), lengths: Uint32Array.from(data.lengths),
    kinds: Uint8Array.from(data.kinds), states: Uint8Array.from(data.states), flags: Uint8Array.from(data.flags),
    sizes: Float64Array.from(data.sizes), times: Float64Array.from(data.times),
    durations: Float32Array.from(data.durations), measured: Uint8Array.from(data.measured),
    scores: Float32Array.from(data.scores, score => score ?? -1),
  });
  if (keeps) names.forEach((name, i) => { if (before.has(name)) setSelected(i, true); });
}

// After a new list of the same folder the cursor stays on its files, or goes to the next one that is left. before: the list.
export function moveCursor({ folder, names, shown, place }) {
  const { opened, active } = cursor, isSameFolder = folder === list.folder;
  const indexOf = i => isSameFolder ? list.names.indexOf(names[i]) : -1;
  Object.assign(cursor, { opened: indexOf(opened), active: indexOf(active) });
  if (isSameFolder && place[active] >= 0 && cursor.active < 0) {
    const left = new Set(list.names), isLeft = i => left.has(names[i]), at = place[active];
    cursor.active = indexOf(shown.subarray(at).find(isLeft) ?? shown.subarray(0, at).findLast(isLeft));
  }
  cursor.anchor = cursor.active;
}

export function applyRow(row) {
  const { index, state, flags, measured, duration, length, score, preview, problem, doubt, flaw, badge } = row;
  if (index >= list.count) return;
  if (list.states[index] !== state || list.flags[index] !== flags || list.measured[index] !== measured) counted = null;
  list.states[index] = state;
  list.flags[index] = flags;
  list.measured[index] = measured;
  if (list.durations[index] !== duration) orders.delete('duration');
  if (list.lengths[index] !== length) orders.delete('length');
  takeScore(index, Math.fround(score ?? -1));
  list.durations[index] = duration;
  list.lengths[index] = length;
  list.rows.delete(index);
  list.rows.set(index, { preview, problem, doubt, flaw, badge });
  if (list.rows.size > MAX_ROWS) list.rows.delete(list.rows.keys().next().value);
}

function takeScore(index, score) {
  if (list.scores[index] === score) return;
  orders.delete('score');
  if (list.scores[index] < 0 || score < 0) counted = null;
  list.scores[index] = score;
}

// A function that says whether the file of an index is in a state or has a flag.
function test(wanted) {
  const { states, flags } = list, bit = FLAGS[wanted], state = STATES.indexOf(wanted);
  if (bit) return i => Boolean(flags[i] & bit);
  if (wanted === 'done') return i => states[i] === DONE || states[i] === EDITED;
  return wanted === 'all' ? () => true : i => states[i] === state;
}

export const inState = (i, wanted) => test(wanted)(i);

export const words = query => query.toLowerCase().split(' ').filter(Boolean);

function everything(count) {
  const indices = new Int32Array(count);
  for (let i = 0; i < count; i++) indices[i] = i;
  return indices;
}

// All indices in the order that is chosen, or null for that of the names, in which the list comes.
function ordered() {
  const { key, descending } = view, sign = descending ? -1 : 1;
  let column = { date: list.times, size: list.sizes, duration: list.durations, length: list.lengths, score: list.scores }[key];
  if (!column) return null;
  if (key === 'score') column = column.map(score => (score < 0 ? sign * 2 : score)); // those without one are the last
  if (!orders.has(key)) orders.set(key, {});
  const both = orders.get(key);
  return both[sign] ??= everything(column.length).sort((a, b) => sign * (column[a] - column[b]) || a - b);
}

// Work out which files are shown, and in which order.
export function arrange() {
  const { count } = list, order = ordered(), place = new Int32Array(count).fill(-1);
  const shown = isFiltered() ? findWanted(order) : order ? order.slice() : everything(count);
  if (!order && view.descending) shown.reverse();
  for (let at = 0; at < shown.length; at++) place[shown[at]] = at;
  Object.assign(list, { shown, place });
}

const isFiltered = () => Boolean(view.only) || view.state !== 'all' || view.kind !== 'all' || view.measured !== 'all' || words(view.query).length > 0;

function findWanted(order) {
  const wanted = words(view.query), { names, kinds, count } = list, { kind, found, only } = view;
  const bits = view.measured === 'all' ? 0 : 1 << MEASURED.indexOf(view.measured);
  const hits = new Int32Array(count), isWanted = test(view.state), onlyKind = Number(kind === 'video');
  let num = 0;
  for (let at = 0; at < count; at++) {
    const i = order ? order[at] : at;
    if (only && !only.marks[i] || !isWanted(i) || kind !== 'all' && kinds[i] !== onlyKind) continue;
    if (bits && !(list.measured[i] & bits)) continue;
    if (wanted.length && !found?.[i]) {
      const name = names[i].toLowerCase();
      if (!wanted.every(word => name.includes(word))) continue;
    }
    hits[num++] = i;
  }
  return hits.slice(0, num);
}

export function setSelected(index, on) {
  if (list.selected[index] === Number(on)) return;
  list.selected[index] = Number(on);
  list.numSelected += on ? 1 : -1;
}

// Select all shown files in a state, or no file for 'none'.
export function selectWhere(which) {
  list.selected.fill(0);
  list.numSelected = 0;
  if (which === 'none') return;
  const isWanted = test(which), { shown, selected } = list;
  for (let at = 0; at < shown.length; at++) {
    if (!isWanted(shown[at])) continue;
    selected[shown[at]] = 1;
    list.numSelected++;
  }
}

export function selectRange(from, to) {
  const [first, last] = from < to ? [from, to] : [to, from];
  for (let position = first; position <= last; position++) setSelected(list.shown[position], true);
}

// A number that stands for texts, in this order.
export function checksum(texts) {
  let sum = 0;
  for (const text of texts) for (let i = 0; i <= text.length; i++) sum = (31 * sum + (text.charCodeAt(i) || 0)) | 0;
  return sum;
}

// The indices that have 1 in an array, as a short text such as "0-4,7".
export function asRanges(marks) {
  const parts = [];
  for (let first = marks.indexOf(1); first >= 0;) {
    const end = marks.indexOf(0, first) < 0 ? marks.length : marks.indexOf(0, first);
    parts.push(first === end - 1 ? first : `${first}-${end - 1}`);
    first = marks.indexOf(1, end);
  }
  return parts.join(',');
}

// An array with 1 at each index of a text such as "0-4,7".
export function fromRanges(text) {
  const found = new Uint8Array(list.count);
  for (const part of text.split(',')) {
    if (!part) continue;
    const [first, last] = part.split('-').map(Number);
    found.fill(1, first, (last ?? first) + 1);
  }
  return found;
}

// The captions that need a look: marks by index, and how many; of the selected files, or else of those shown.
export function toRepair() {
  const { states, flags, selected, numSelected, place, count } = list, marks = new Uint8Array(count);
  let num = 0;
  for (let i = 0; i < count; i++) {
    if (!(flags[i] & FLAGS.flawed) || (states[i] !== DONE && states[i] !== EDITED)) continue;
    if (numSelected ? !selected[i] : place[i] < 0) continue;
    marks[i] = 1;
    num++;
  }
  return { marks, num };
}

// Count the files by state, flag and kind, and the selected ones that have a caption, are approved or are not shown.
export function countFiles() {
  return { ...(counted ??= countAll()), ...countSelected() };
}

function countAll() {
  const states = [0, 0, 0, 0], flags = new Array(32).fill(0), { states: stateOf, flags: flagsOf, kinds, count } = list;
  const measured = Object.fromEntries(MEASURED.map(name => [name, 0]));
  let videos = 0, scored = 0;
  for (let i = 0; i < count; i++) {
    states[stateOf[i]]++;
    flags[flagsOf[i]]++;
    videos += kinds[i];
    scored += Number(list.scores[i] >= 0);
    for (let bits = list.measured[i], n = 0; bits; bits >>= 1, n++) if (bits & 1) measured[MEASURED[n]]++;
  }
  const [approved, outside, flawed, star, reject] = Object.values(FLAGS).map(
    bit => flags.reduce((sum, number, flag) => sum + (flag & bit ? number : 0), 0));
  return { states, approved, outside, flawed, star, reject, videos, scored, measured };
}

function countSelected() {
  const { states, flags, selected, numSelected, count, place } = list;
  let selectedCaptioned = 0, selectedApproved = 0, selectedHidden = 0;
  for (let i = 0; numSelected && i < count; i++) {
    if (!selected[i]) continue;
    if (states[i] === DONE || states[i] === EDITED) selectedCaptioned++;
    if (flags[i] & FLAGS.approved) selectedApproved++;
    if (place[i] < 0) selectedHidden++;
  }
  return { selectedCaptioned, selectedApproved, selectedHidden };
}
