// What a person can do with the files of the grid.
import {
  asRanges, cursor, inState, list, selectRange, selectWhere, setSelected,
} from './files.js';
import { showChanges } from './listing.js';
import { repaint, reveal } from './scroller.js';
import { tileId } from './tiles.js';
import { plural } from '../format.js';

let port, trigger;

export function startActions(gradio) {
  port = gradio.element.querySelector('.grid-view');
  trigger = gradio.trigger;
}

export const openedFile = () => ({ folder: list.folder, name: list.names[cursor.opened] });
export const focusGrid = () => port?.focus();

function moveTo(i) {
  cursor.active = i;
  reveal(i);
  repaint();
  port.setAttribute('aria-activedescendant', tileId(i));
}

export function open(i) {
  if (i === undefined || i < 0) return;
  cursor.opened = cursor.anchor = i;
  cursor.lastPlace = list.place[i];
  moveTo(i);
  trigger('open', { id: `${list.scan}-${i}` });
}

// Open the next (1) or the previous (-1) file.
export function step(by) {
  const from = list.place[cursor.opened] ?? -1, last = list.shown.length - 1;
  // A file that is no longer shown, such as a pending one that is done now, was replaced in its place by the next one.
  const to = from >= 0 ? from + by : by > 0 ? cursor.lastPlace : cursor.lastPlace - 1;
  if (to >= 0 && to <= last && to !== from) open(list.shown[to]);
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

export const isApproved = i => inState(i, 'approved');

// Approve captions, or take that back. selected: indices as ranges; those of the selected files by default.
export function approve(on, selected = asRanges(list.selected)) {
  trigger('approve', { files: JSON.stringify({ scan: list.scan, selected, total: 1 }), on });
}

// The files that a bulk edit is about, as a value of the grid, and a line about them.
export function bulkEditScope() {
  const { numSelected, shown, count, scan } = list, total = numSelected || shown.length, chosen = new Uint8Array(count);
  for (const i of shown) chosen[i] = 1;
  const selected = asRanges(numSelected ? list.selected : chosen);
  const which = numSelected ? 'selected ' : shown.length < count ? 'shown ' : '';
  const line = which ? `In ${plural(total, `${which}file`)}` : `In all ${plural(total, 'file')}`;
  return [JSON.stringify({ scan, selected, total }), line];
}
