// The way back through all earlier texts of the opened file, and forth again.
import { edit, keyOf } from './edit.js';

// ids: of the changes that replaced these texts, the newest first; home: of the change that began the way back;
// at: where the file is now, -1 for the text that it had at first; wanted: where it is going; last: the newest change.
let trail = { key: '', ids: [], home: 0, at: -1, wanted: null, last: 0 };

// Take over the opened file as it is now.
export function followTrail() {
  const { file } = edit, isOurs = keyOf(file) === trail.key && trail.wanted !== null && file.undo !== trail.last;
  if (isOurs) {
    if (trail.at < 0) trail.home = file.undo;
    Object.assign(trail, { at: trail.wanted, wanted: null, last: file.undo });
  } else if (keyOf(file) !== trail.key || file.undo !== trail.last) {
    trail = { key: keyOf(file), ids: file.versions ?? [], home: 0, at: -1, wanted: null, last: file.undo };
  }
}

const goal = () => trail.wanted ?? trail.at;
export const canGoBack = () => goal() + 1 < trail.ids.length;
export const canGoForth = () => goal() >= 0;

// The change whose earlier text is one step older (1) or newer (-1); null while the first step back is on its way.
export function goAlong(by) {
  const to = goal() + by, id = to < 0 ? trail.home : trail.ids[to];
  if (!id) return null;
  trail.wanted = to;
  return id;
}
