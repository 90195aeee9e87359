// The files of one group as a list of which only the rows on the screen are in the page.
import { make, nameParts } from '../common.js';

const HEIGHT = 34, BLOCK = 200, MARGIN = 8; // pixels of a row; rows asked for at once; rows drawn beyond the screen
const NAME_FITS = 16; // characters, on a phone
let port, canvas, ask, choose;
let shown = { key: '', code: '', count: 0 }, rows = new Map(), asked = new Set();

// request: asks for rows of a code from a place on. pick: called with the name of a file that is clicked.
export function startRows(element, request, pick) {
  [port, canvas, ask, choose] = [element, element.firstChild, request, pick];
  port.addEventListener('scroll', draw, { passive: true });
  port.addEventListener('click', event => {
    const name = event.target.closest('[data-row]')?.dataset.row;
    if (name) choose(name);
  });
  new ResizeObserver(draw).observe(port);
}

// Show the rows of a code. key: changes when the rows do.
export function showRows(key, code, count) {
  if (key === shown.key) return;
  shown = { key, code, count };
  rows = new Map();
  asked = new Set();
  port.scrollTop = 0;
  canvas.style.height = `${count * HEIGHT}px`;
  draw();
}

export function takeRows({ number, code, start, rows: found }) {
  if (`${number} ${code}` !== shown.key) return;
  found.forEach((row, i) => rows.set(start + i, row));
  draw();
}

function draw() {
  if (!port.offsetParent) return; // another tab is shown
  const first = Math.max(0, Math.floor(port.scrollTop / HEIGHT) - MARGIN);
  const end = Math.min(shown.count, Math.ceil((port.scrollTop + port.clientHeight) / HEIGHT) + MARGIN);
  for (let block = Math.floor(first / BLOCK); block * BLOCK < end; block++) {
    if (asked.has(block)) continue;
    asked.add(block);
    ask(shown.code, block * BLOCK);
  }
  const drawn = [];
  for (let place = first; place < end; place++) drawn.push(line(place, rows.get(place)));
  canvas.replaceChildren(...drawn);
}

function line(place, row) {
  const [file, detail] = row ?? ['…', ''];
  const button = make('button', { type: 'button', title: `${file}: ${detail}` }, make('b', {}, ...nameParts(file, NAME_FITS)), make('span', {}, detail));
  if (row) button.dataset.row = file;
  const item = make('div', { className: 'dataset-row' }, button);
  item.setAttribute('role', 'listitem');
  item.style.top = `${place * HEIGHT}px`;
  return item;
}
