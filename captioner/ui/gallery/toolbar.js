// The toolbar above the grid: the search, the filter, the order, the size of the tiles, and what concerns all files.
import { listenToButtons, onButton } from './buttons.js';
import { list, view } from './files.js';
import { filter, isFilled, onChange, select, setColumns, sort, toggleFill } from './listing.js';
import { address, number, placeMenus, plural, update } from '../common.js';

let element;
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  element = gradio.element;
  placeMenus(element);
  listenToButtons(element);
  onButton('fill', button => button.setAttribute('aria-pressed', toggleFill()));
  onButton('direction', () => sort(view.key, !view.descending));
  onButton('unfilter', () => filter({ state: 'all', kind: 'all', measured: 'all', only: null }));
  onButton('select', ({ dataset }) => select(dataset.which));
  element.addEventListener('click', event => {
    const { state, kind, measured } = event.target.closest('button')?.dataset ?? {};
    if (state) filter({ state });
    else if (kind) filter({ kind });
    else if (measured) filter({ measured });
    if (event.target.closest('.menu :is(button, a)')) event.target.closest('.menu').hidePopover();
  });
  $('.grid-sort select').addEventListener('change', event => sort(event.target.value, event.target.value !== 'score' && view.descending));
  $('.grid-columns input').addEventListener('input', event => setColumns(Number(event.target.value)));
  listenToSearch($('.grid-search input'));
  document.addEventListener('keydown', pressOnPage);
  onChange(show);
}

function listenToSearch(box) {
  box.addEventListener('input', () => filter({ query: box.value }));
  box.addEventListener('keydown', event => {
    if (event.key === 'Escape' && box.value) filter({ query: '' });
    else if (['Escape', 'Enter', 'ArrowDown'].includes(event.key)) document.querySelector('.grid-view').focus();
    else return;
    event.preventDefault();
  });
}

function pressOnPage(event) {
  const isTyping = event.target.closest?.('input, textarea, select, [contenteditable]');
  const isCombined = event.ctrlKey || event.metaKey || event.altKey;
  if (event.key !== '/' || isTyping || isCombined || !element.offsetParent) return; // no offsetParent: another tab
  event.preventDefault();
  $('.grid-search input').focus();
  $('.grid-search input').select();
}

function show({ counts, columns }) {
  const [pending, done, failed, edited] = counts.states, { videos, approved, outside, flawed, star, reject } = counts, { count } = list;
  const states = { all: count, pending, done: done + edited, failed, edited, approved, outside, flawed, star, reject };
  showChoices('state', states, view.state);
  showChoices('kind', { video: videos, image: count - videos }, view.kind);
  $('.grid-kinds').hidden = $('.grid-kinds').previousElementSibling.hidden = !videos || videos === count;
  showChoices('measured', counts.measured, view.measured);
  $('.grid-measured').hidden = $('.grid-measured').previousElementSibling.hidden = !list.measured.some(Boolean);
  showFilter();
  showSort(counts);
  showScoring(done + edited);
  for (const which of ['pending', 'failed']) {
    const button = $(`[data-which=${which}]`);
    button.hidden = !states[which];
    update(button.querySelector('i'), { textContent: number(states[which]) });
  }
  const box = $('.grid-search input'), slider = $('.grid-columns input');
  update(box, { value: view.query });
  if (columns) update(slider, { value: String(columns) });
  update($('.bar-fill'), { ariaPressed: String(isFilled()) });
  showDownload(done + edited);
}

// counts: how many files there are for the value of each button. What no file has is not offered.
function showChoices(name, counts, chosen) {
  for (const button of element.querySelectorAll(`[data-${name}][aria-pressed]`)) {
    const value = button.dataset[name], shown = button.querySelector('i');
    if (shown && value in counts) update(shown, { textContent: number(counts[value]) });
    const hidden = counts[value] === 0 && value !== chosen && value !== 'all';
    update(button, { hidden, ariaPressed: String(value === chosen) });
  }
}

function showFilter() {
  const chosen = [['state', view.state], ['kind', view.kind], ['measured', view.measured]].filter(([, value]) => value !== 'all');
  const names = chosen.map(([name, value]) => $(`[data-${name}=${value}]`).firstChild.textContent.trim());
  if (view.only) names.unshift(view.only.label);
  update($('.bar-filter span'), { textContent: names.join(', ') || 'All files' });
  $('.bar-filter').classList.toggle('on', names.length > 0);
  $('.bar-clear').hidden = !names.length;
}

function showSort(counts) {
  $('.grid-sort [value=score]').hidden = !counts.scored && view.key !== 'score';
  update($('.grid-sort select'), { value: view.key });
  const title = view.descending ? 'Descending' : 'Ascending';
  update($('[data-act=direction]'), { ariaPressed: String(view.descending), title });
}

function showScoring(numCaptions) {
  const button = $('.menu [data-act=score]');
  button.hidden = !numCaptions;
  update(button, { textContent: list.numSelected ? 'Score selected captions' : 'Score all captions' });
}

function showDownload(numCaptions) {
  const link = $('.bar-zip');
  link.hidden = !numCaptions;
  link.title = `Download ${plural(numCaptions, 'caption')} as a zip`;
  link.href = address(`captions.zip?scan=${list.scan}`);
}
