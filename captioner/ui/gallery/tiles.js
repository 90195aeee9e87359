// One tile of the grid: a picture, the name, the caption. Names and captions become text, never HTML or code.
import { STATES, cursor, inState, list } from './files.js';
import { make } from '../dom.js';
import { capitalize, clock, plural } from '../format.js';
import { address } from '../requests.js';

const TEMPLATE = make('template');
TEMPLATE.innerHTML = '<div class="grid-tile" role="option"><div class="grid-picture">' +
  '<img alt="" decoding="async" draggable="false"><i class="grid-check"></i><i class="grid-badge"></i>' +
  '<i class="grid-lock" title="Approved"></i><span class="grid-time"></span><span class="grid-outside"></span></div>' +
  '<b></b><p></p></div>';

export function newTile() {
  const tile = TEMPLATE.content.firstChild.cloneNode(true);
  const [picture, name, text] = tile.children, [img, , badge, , time, outside] = picture.children;
  return Object.assign(tile, { parts: { picture, img, badge, time, outside, name, text } });
}

export const tileId = index => `tile-${index}`;
export const tileAt = event => event.target.closest?.('.grid-tile');
export const indexOf = tile => Number(tile.id.slice('tile-'.length));

// Show the file with this index in the tile.
export function paint(tile, i) {
  const { parts } = tile, state = STATES[list.states[i]], row = list.rows.get(i), problem = row?.problem || '';
  const approved = inState(i, 'approved'), outside = inState(i, 'outside') ? 'Changed outside' : '';
  if (tile.dataset.id !== `${list.scan}-${i}`) reuse(tile, i);
  tile.dataset.state = state;
  for (const [name, on] of [['approved', approved], ['open', i === cursor.opened], ['active', i === cursor.active]]) {
    tile.classList.toggle(name, on);
  }
  tile.setAttribute('aria-selected', Boolean(list.selected[i]));
  tile.setAttribute('aria-posinset', list.place[i] + 1);
  tile.setAttribute('aria-setsize', list.shown.length);
  const label = [list.names[i], state, approved && 'approved', outside, problem];
  tile.setAttribute('aria-label', label.filter(Boolean).join(', '));
  parts.outside.textContent = parts.outside.title = outside;
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

export function stopVideo(tile) {
  tile.querySelector('video')?.remove();
}

export function playVideo(tile, i) {
  const video = make('video', {
    muted: true, loop: true, playsInline: true, preload: 'auto', disablePictureInPicture: true,
    src: address(`media/${list.scan}-${i}`),
  });
  video.addEventListener('error', () => video.remove()); // a format that browsers do not play keeps its picture
  tile.parts.img.after(video);
  video.play().catch(() => {});
}
