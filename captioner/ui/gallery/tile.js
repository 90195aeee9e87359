// One tile of the grid: a file with its picture, its name and the beginning of its caption.
import { FLAGS, STATES, cursor, list } from './files.js';
import { address, capitalize, clock, make, nameParts, plural, update } from '../common.js';

const TEMPLATE = make('template', {
  innerHTML: '<div class="grid-tile" role="gridcell"><div class="grid-picture">' +
    '<img alt="" decoding="async" draggable="false"><i class="grid-check"></i><span class="grid-time"></span></div>' +
    '<b dir="auto"></b><p></p></div>',
}); // few nodes, since there are many tiles; marks are drawn by the style sheet, and the rest is added where it is needed

export const tileId = index => `tile-${index}`;
export const tileAt = event => event.target.closest?.('.grid-tile');
export const indexOf = tile => Number(tile.id.slice('tile-'.length));

export function newTile() {
  const tile = TEMPLATE.content.firstChild.cloneNode(true);
  const [picture, name, text] = tile.children, [img, , time] = picture.children;
  return Object.assign(tile, { parts: { picture, img, time, name, text }, named: '' });
}

// columns: how many the grid has; fits: how many characters of a name fit into a tile.
export function paint(tile, i, { columns, fits }) {
  const { parts } = tile, state = STATES[list.states[i]], row = list.rows.get(i), problem = row?.problem || '';
  const has = flag => Boolean(list.flags[i] & FLAGS[flag]), approved = has('approved'), flaw = has('flawed') && row?.flaw;
  const mark = ['star', 'reject'].find(has) ?? '';
  const outside = has('outside') ? 'Changed outside' : row?.doubt ? 'Check characters'
    : flaw ? row.badge : '';
  if (tile.dataset.id !== `${list.scan}-${i}`) reuse(tile, i);
  showName(tile, i, fits);
  update(tile.dataset, { state, mark, place: String(list.place[i]) });
  tile.classList.toggle('approved', approved);
  tile.classList.toggle('open', i === cursor.opened);
  tile.classList.toggle('active', i === cursor.active);
  const label = [list.names[i], state, approved && 'approved', mark, outside, problem];
  update(tile, {
    ariaSelected: String(Boolean(list.selected[i])), ariaColIndex: String(list.place[i] % columns + 1),
    ariaLabel: label.filter(Boolean).join(', '),
  });
  showChip(parts.picture, outside, Boolean(flaw), row?.doubt ? `is ${row.doubt}` : flaw);
  update(parts.picture, { title: capitalize(approved ? `${state}, approved` : state) });
  update(parts.time, { textContent: list.durations[i] ? clock(list.durations[i]) : '' });
  update(parts.text, {
    className: problem ? 'bad' : row?.preview ? '' : row || state === 'pending' ? 'none' : 'wait',
    textContent: problem || row?.preview || (state === 'pending' ? 'No caption yet' : ''), title: problem,
  });
  paintRunning(tile, list.running.get(i));
}

function reuse(tile, i) {
  tile.parts.img.removeAttribute('src'); // otherwise the picture of the file before shows until this one has loaded
  stopVideo(tile);
  tile.dataset.id = `${list.scan}-${i}`;
  tile.id = tileId(i);
}

// The end of a long name is always seen: only its first part is cut. Its folder has a line of its own.
function showName(tile, i, fits) {
  const key = `${list.scan}-${i}-${fits}`, { name, text } = tile.parts;
  if (tile.named === key) return;
  tile.named = key;
  const whole = list.names[i], slash = whole.lastIndexOf('/') + 1, plain = whole.slice(slash);
  name.title = whole;
  name.replaceChildren(...nameParts(plain, fits));
  tile.querySelector('small')?.remove();
  const folder = whole.slice(0, slash && slash - 1);
  if (folder) text.before(make('small', { title: folder }, folder));
}

// A word about the caption on its picture. what: the rest of "This caption ...".
function showChip(picture, word, warns, what) {
  const there = picture.querySelector('.grid-outside');
  if (!word) return there?.remove();
  const chip = there ?? make('span', { className: 'grid-outside' });
  update(chip, { textContent: word, title: what ? `This caption ${what}` : word });
  chip.dataset.warn = warns;
  if (!there) picture.append(chip);
}

// tokens: how many are written so far; undefined if the file is not being captioned.
function paintRunning(tile, tokens) {
  const shown = tile.querySelector('.grid-running');
  tile.classList.toggle('running', tokens !== undefined);
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
