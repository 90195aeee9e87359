// The first files, drawn while Gradio's own scripts still load. The grid takes over the view with all that is in it, and
// acts on the clicks and keys that came before it.
import { load, startView } from './listing.js';
import { list } from './files.js';
import { tileAt, tileId } from './tile.js';
import { allowPictures, fetchPictures, reveal } from './tiles.js';
import { make } from '../common.js';

const propsOf = id => gradio_config.components.find(({ props }) => props.elem_id === id)?.props ?? {};
const keptOf = name => JSON.parse(sessionStorage.getItem(`vcs-${name}`)) ?? {};
const FEW = 2; // pictures at once: browsers open six connections, which Gradio's scripts need
const KEYS = /^(Arrow.*|Home|End|Page.*|Enter|Escape|[ 123a/?])$/; // of the grid and of the page
const MAX_KEPT = 100, AWAITED = /^[/?]$/, AWAIT_MS = 10_000; // the keys of modules that may come after the grid
const kept = []; // clicks and keys
const clicked = new WeakMap(); // the file that a click was on; its tile may show another one by now
let host = null, view = null;

// Not where something else comes first: another tab or the panel, which were shown before the page was loaded again.
export async function start() {
  const template = propsOf('grid').html_template;
  if (!template || keptOf('page').tab > 0 || keptOf('gallery').opened || document.querySelector('#grid')) return;
  host = make('div', { className: 'early' }, make('div', { innerHTML: propsOf('notices').value ?? '' }));
  host.insertAdjacentHTML('beforeend', template);
  view = host.querySelector('.grid-view');
  Object.assign(view, { className: 'early-view', role: null }); // until it is the grid
  host.lastChild.replaceWith(view);
  host.append(make('style', { textContent: gradio_config.css }));
  host.addEventListener('click', keepClick);
  document.addEventListener('keydown', keepKey, { capture: true });
  document.body.append(host);
  for (const end of ['load', 'error']) host.addEventListener(end, fetchPictures, true);
  startView(view);
  allowPictures(FEW);
  await load();
  host.hidden = !list.count;
}

const isOurs = target => target === document.body || view.contains(target);

function keepClick(event) {
  const tile = tileAt(event);
  if (!tile) return;
  clicked.set(event, tile.dataset.id);
  kept.push(event);
}

// After a slash, characters are what is searched for.
function keepKey(event) {
  const { key, ctrlKey, metaKey } = event, isCommand = ctrlKey || metaKey;
  if (!event.isTrusted || event.altKey || event.isComposing || !isOurs(event.target)) return;
  const isText = (key.length === 1 || key === 'Backspace') && kept.some(before => before.key === '/');
  if (isCommand ? key !== 'a' : !KEYS.test(key) && !isText) return;
  if (kept.length < MAX_KEPT) kept.push(event);
  event.preventDefault();
  event.stopPropagation();
}

// Put the view, if there is one, in the place of the one in `element`; return whether there was.
export function moveTo(element) {
  if (!view) return false;
  const { scrollTop } = view, hasFocus = document.activeElement === view;
  view.classList.replace('early-view', 'grid-view');
  view.role = 'grid';
  element.querySelector('.grid-view').replaceWith(view);
  view.scrollTop = scrollTop;
  if (hasFocus) view.focus({ preventScroll: true });
  allowPictures(Infinity);
  host.remove();
  return true;
}

// Act on the clicks and keys that came before the grid, in their order. Keys that come in between are kept, too.
export async function repeatEvents() {
  for (let event; (event = kept.shift());) {
    if (event.type === 'click') repeatClick(event);
    else await repeatKey(event);
  }
  document.removeEventListener('keydown', keepKey, { capture: true });
}

function repeatClick(event) {
  const id = clicked.get(event), i = Number(id.slice(id.lastIndexOf('-') + 1));
  if (id !== `${list.scan}-${i}` || list.place[i] < 0) return; // the file is gone
  reveal(i);
  const tile = view.querySelector(`#${tileId(i)}`), isCheck = event.target.closest('.grid-check');
  (isCheck ? tile.querySelector('.grid-check') : tile).dispatchEvent(new MouseEvent('click', event));
}

async function repeatKey(event) {
  const target = document.activeElement, isSearch = target.matches('.grid-search input'), end = performance.now() + AWAIT_MS;
  if (isSearch && event.key.length === 1) { document.execCommand('insertText', false, event.key); return; }
  if (isSearch && event.key === 'Backspace') { document.execCommand('delete'); return; }
  if (!isSearch && !isOurs(target)) return;
  const press = () => target.dispatchEvent(new KeyboardEvent('keydown', event)); // false: it was acted on
  let isOpen = press();
  while (isOpen && AWAITED.test(event.key) && performance.now() < end) {
    await new Promise(requestAnimationFrame);
    isOpen = press();
  }
  if (isOpen && event.key === '/') kept.length = 0; // what follows was meant for the search, not as commands
}
