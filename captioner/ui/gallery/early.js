// The first files, drawn while Gradio's own scripts still load. The grid takes over the view with all that is in it.
import { load, startView } from './listing.js';
import { list } from './files.js';
import { allowPictures, fetchPictures } from './tiles.js';
import { make } from '../common.js';

const propsOf = id => gradio_config.components.find(({ props }) => props.elem_id === id)?.props ?? {};
const keptOf = name => JSON.parse(sessionStorage.getItem(`vcs-${name}`)) ?? {};
const FEW = 2; // pictures at once: browsers open six connections, which Gradio's scripts need
const clicks = [];
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
  host.addEventListener('click', event => clicks.push(event));
  document.body.append(host);
  for (const end of ['load', 'error']) host.addEventListener(end, fetchPictures, true);
  startView(view);
  allowPictures(FEW);
  await load();
  host.hidden = !list.count;
}

// Put the view, if there is one, in the place of the one in `element`; return whether there was.
export function moveTo(element) {
  if (!view) return false;
  const { scrollTop } = view;
  view.classList.replace('early-view', 'grid-view');
  view.role = 'grid';
  element.querySelector('.grid-view').replaceWith(view);
  view.scrollTop = scrollTop;
  allowPictures(Infinity);
  host.remove();
  return true;
}

// Act on the clicks that came before the grid.
export function repeatClicks() {
  for (const click of clicks.splice(0)) click.target.dispatchEvent(new MouseEvent('click', click));
}
