// One tile of the grid: a file with its picture, its name and the beginning of its caption.
import { STATES, cursor, inState, list, markOf } from './files.js';
import { address, capitalize, clock, make, plural } from '../common.js';

const TEMPLATE = make('template', {
  innerHTML: '<div class="grid-tile" role="gridcell"><div class="grid-picture">' +
    '<img alt="" decoding="async" draggable="false"><i class="grid-check"></i><i class="grid-badge"></i>' +
    '<i class="grid-lock" title="Approved"></i><span class="grid-time"></span><span class="grid-outside"></span>' +
    '</div><b dir="auto"><span></span><span></span></b><small></small><p></p></div>',
});
const NAME_END = /^(.*?)(\P{M}\p{M}*.{0,9})$/su; // the last ten characters; marks stay with the letter before them
const FLAWS = { was: 'Cut off', repeats: 'Repeats itself', is: 'Empty' }; // by the first word of what Python says

export const tileId = index => `tile-${index}`;
export const tileAt = event => event.target.closest?.('.grid-tile');
export const indexOf = tile => Number(tile.id.slice('tile-'.length));

export function newTile() {
  const tile = TEMPLATE.content.firstChild.cloneNode(true);
  const [picture, name, folder, text] = tile.children, [img, , badge, , time, outside] = picture.children;
  return Object.assign(tile, { parts: { picture, img, badge, time, outside, name, folder, text } });
}

// columns: how many the grid has.
export function paint(tile, i, columns) {
  const { parts } = tile, state = STATES[list.states[i]], row = list.rows.get(i), problem = row?.problem || '';
  const approved = inState(i, 'approved'), flaw = inState(i, 'flawed') && row?.flaw, mark = markOf(i);
  const outside = inState(i, 'outside') ? 'Changed outside' : row?.doubt ? 'Check characters'
    : flaw ? FLAWS[flaw.split(' ')[0]] : '';
  if (tile.dataset.id !== `${list.scan}-${i}`) reuse(tile, i);
  tile.dataset.state = state;
  tile.dataset.mark = mark;
  tile.dataset.place = list.place[i];
  tile.classList.toggle('approved', approved);
  tile.classList.toggle('open', i === cursor.opened);
  tile.classList.toggle('active', i === cursor.active);
  tile.setAttribute('aria-selected', Boolean(list.selected[i]));
  tile.setAttribute('aria-colindex', list.place[i] % columns + 1);
  const label = [list.names[i], state, approved && 'approved', mark, outside, problem];
  tile.setAttribute('aria-label', label.filter(Boolean).join(', '));
  parts.outside.textContent = outside;
  parts.outside.dataset.warn = Boolean(flaw);
  parts.outside.title = row?.doubt ? `This caption is ${row.doubt}` : flaw ? `This caption ${flaw}` : outside;
  parts.badge.title = capitalize(state);
  parts.time.textContent = list.durations[i] ? clock(list.durations[i]) : '';
  parts.text.className = problem ? 'bad' : row?.preview ? '' : row || state === 'pending' ? 'none' : 'wait';
  parts.text.textContent = problem || row?.preview || (state === 'pending' ? 'No caption yet' : '');
  parts.text.title = problem;
  paintRunning(tile, list.running.get(i));
}

function reuse(tile, i) {
  tile.parts.img.removeAttribute('src'); // otherwise the picture of the file before shows until this one has loaded
  stopVideo(tile);
  tile.dataset.id = `${list.scan}-${i}`;
  tile.id = tileId(i);
  const name = list.names[i], slash = name.lastIndexOf('/') + 1;
  const [, start, end] = name.slice(slash).match(NAME_END) ?? ['', '', name.slice(slash)], { parts } = tile;
  parts.name.title = name;
  [parts.name.firstChild.textContent, parts.name.lastChild.textContent] = [start, end];
  parts.folder.textContent = parts.folder.title = name.slice(0, slash && slash - 1);
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
