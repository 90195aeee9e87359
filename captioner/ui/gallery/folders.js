// The folder bar. Python sends `shown`, the open folder and the recent ones, and `listing`, the subfolders of the
// folder that a person browses; see captioner/ui/gallery/folders.py.
import { unsavedEdit } from './edit.js';
import { keepOverReload, make, showText } from '../common.js';

const icon = shape => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${shape}"/></svg><span></span>`;
const FOLDER = icon('M1.5 12.5v-9h4.3l1.4 1.7h7.3v7.3z'), UP = icon('M8 13V3M4 7l4-4 4 4');
const MENU_WIDTH = { least: 320, most: 560 };
let element, props, trigger, path, menu, recursive, videos, images;
let whenOpened = null; // called once the typed folder is open
let numListings = 0, folder = '', isTyped = false; // isTyped: the path is not open; only another folder replaces it
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  [path, menu] = [$('.folder-path input'), $('.folder-menu')];
  [recursive, videos, images] = [$('#recursive'), $('#videos'), $('#images')];
  path.value ||= keepOverReload('path', () => (isTyped ? path.value : '')) ?? '';
  isTyped = path.value !== '';
  element.addEventListener('click', event => actions[event.target.closest('[data-act]')?.dataset.act]?.());
  listenToPath();
  listenToMenu();
  for (const [box, other] of [[recursive], [videos, images], [images, videos]]) {
    box.addEventListener('change', () => {
      if (other && !box.checked) other.checked = true; // at least one kind
      if (folder) actions.refresh();
    });
  }
  gradio.watch('shown', showBar);
  gradio.watch('listing', showListing);
  gradio.watch('problem', showProblem);
  showBar();
}

// Open the typed folder and then call `then`. Without a path, only show where to type one.
export function openTyped(then) {
  if (!path.value.trim()) return path.focus();
  open({ typed: path.value });
  whenOpened = then;
}

const actions = {
  open: () => open({ typed: path.value }),
  menu: () => (menu.matches(':popover-open') ? menu.hidePopover() : showMenu()),
  take: () => open({ key: props.listing.key }),
  refresh: () => open({ key: props.shown.key }),
};

// where: {typed}, a text that a person typed, or {key}, a folder that Python has named.
function open(where) {
  if (where.key !== props.shown.key) menu.hidePopover();
  whenOpened = null;
  const kinds = !images.checked ? 'video' : !videos.checked ? 'image' : 'all';
  trigger('open', { typed: '', key: '', ...where, recursive: recursive.checked, kinds, edit: unsavedEdit() });
}

function browse(where) {
  trigger('browse', { typed: '', key: '', ...where, number: ++numListings });
}

function listenToPath() {
  path.addEventListener('keydown', event => {
    if (event.key === 'Enter') actions.open();
    else if (event.key === 'ArrowDown') showMenu();
    else if (event.key === 'Escape') { isTyped = false; path.value = folder; showOpen(); path.blur(); } else return;
    event.preventDefault();
  });
  path.addEventListener('focus', () => path.select());
  path.addEventListener('input', () => { isTyped = path.value !== folder; showOpen(); showText($('.folder-error'), ''); });
}

function listenToMenu() {
  menu.addEventListener('toggle', event => {
    $('[data-act=menu]').setAttribute('aria-expanded', event.newState === 'open');
  });
  $('[data-act=menu]').addEventListener('keydown', event => {
    if (event.key !== 'Tab' || event.shiftKey || !menu.matches(':popover-open')) return;
    recursive.focus(); // Chromium passes the menu over while its rows are drawn
    event.preventDefault();
  });
  menu.addEventListener('keydown', event => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    const buttons = [...menu.querySelectorAll('li button')], at = buttons.indexOf(document.activeElement);
    buttons[Math.max(0, Math.min(buttons.length - 1, at + by))]?.focus();
    event.preventDefault();
  });
}

function showMenu() {
  const { left, bottom, width } = $('.folder-path').getBoundingClientRect();
  const wide = Math.max(Math.min(width, MENU_WIDTH.most), MENU_WIDTH.least);
  Object.assign(menu.style, { left: `${left}px`, top: `${bottom + 4}px`, width: `${wide}px` });
  menu.showPopover({ source: $('[data-act=menu]') }); // Tab goes on from there into the menu
  browse({ typed: path.value });
}

function row(image, label, title, act) {
  const button = make('button', { type: 'button', innerHTML: image, title });
  button.querySelector('span').textContent = label;
  button.addEventListener('click', act);
  return make('li', {}, button);
}

// There is something to open once another path is typed.
function showOpen() {
  $('.folder-open').hidden = !isTyped || !path.value.trim();
}

// Why the folder was not opened, right below its path.
function showProblem() {
  showText($('.folder-error'), props.problem.text);
  if (!props.problem.text) return;
  whenOpened = null;
  path.focus();
}

function showBar() {
  const { shown } = props;
  if (shown.folder !== folder) {
    isTyped = false;
    whenOpened?.();
    whenOpened = null;
  }
  folder = shown.folder;
  if (!isTyped) path.value = folder;
  showOpen();
  path.title = folder;
  recursive.checked = shown.recursive;
  videos.checked = shown.kinds !== 'image';
  images.checked = shown.kinds !== 'video';
  $('[data-act=refresh]').disabled = !folder;
  const recent = shown.recent.map(({ place, key }) => row(FOLDER, place, place, () => open({ key })));
  $('.folder-recent').replaceChildren(...recent);
  $('h4').hidden = !shown.recent.length;
}

function showListing() {
  const { listing } = props, list = $('.folder-list'), title = $('.folder-here b');
  if (listing.number !== numListings) return; // the answer to an earlier request
  title.textContent = title.title = listing.place;
  $('[data-act=take]').disabled = !listing.key;
  showText($('.folder-problem'), listing.problem);
  const rows = listing.folders.map(({ name, key }) => row(FOLDER, name, name, () => browse({ key })));
  if (listing.parent) rows.unshift(row(UP, '..', 'Parent folder', () => browse({ key: listing.parent })));
  const isEmpty = !listing.folders.length && !listing.problem;
  if (isEmpty) rows.push(make('li', { className: 'folder-none' }, 'No subfolders'));
  list.replaceChildren(...rows);
  list.scrollTop = 0;
  if (menu.matches(':popover-open')) (list.querySelector('button') ?? $('[data-act=take]')).focus();
}
