// The folder bar. Runs inside gr.HTML's js_on_load: (element, trigger, props, watch). Python sends `shown`, the open
// folder and the recent ones, and `listing`, the subfolders of the one that the user looks at.
const $ = selector => element.querySelector(selector);
const path = $('.folder-path input'), recursive = $('#recursive'), videos = $('#videos'), images = $('#images'), menu = $('.folder-menu'), counts = $('.folder-counts');
const icon = shape => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${shape}"/></svg><span></span>`;
const FOLDER = icon('M1.5 12.5v-9h4.3l1.4 1.7h7.3v7.3z'), UP = icon('M8 13V3M4 7l4-4 4 4');
let looks = 0, folder = '', typed = false; // typed: a path that is not open (yet), which nothing but another folder replaces

// where: {typed}, a text that a person typed, or {key}, a folder that Python has named.
function open(where) {
  menu.hidePopover();
  const edit = document.querySelector('#panel [data-panel]')?.panel.edit() ?? null;
  const kinds = !images.checked ? 'video' : !videos.checked ? 'image' : 'all';
  trigger('open', { typed: '', key: '', ...where, recursive: recursive.checked, kinds, edit });
}

function row(image, label, title, act) {
  const item = document.createElement('li'), button = document.createElement('button');
  button.type = 'button';
  button.innerHTML = image;
  button.title = title;
  button.querySelector('span').textContent = label;
  button.addEventListener('click', act);
  item.append(button);
  return item;
}

function showBar() {
  const { shown } = props;
  if (shown.folder !== folder) typed = false;
  if (!typed) path.value = shown.folder;
  folder = shown.folder;
  path.title = folder;
  recursive.checked = shown.recursive;
  videos.checked = shown.kinds !== 'image';
  images.checked = shown.kinds !== 'video';
  $('[data-act=refresh]').disabled = !folder;
  if (counts.made !== shown.counts) counts.innerHTML = counts.made = shown.counts; // made and escaped in Python
  const recents = shown.recent.map(({ place, key }) => row(FOLDER, place, place, () => open({ key })));
  $('.folder-recent').replaceChildren(...recents);
  $('h4').hidden = !shown.recent.length;
}

function showListing() {
  const { listing } = props, list = $('.folder-list'), problem = $('.folder-problem');
  if (listing.number !== looks) return; // of a folder that was looked into before
  $('.folder-here b').textContent = $('.folder-here b').title = listing.place;
  $('[data-act=take]').disabled = !listing.key;
  problem.hidden = !listing.problem;
  problem.textContent = listing.problem;
  const look = key => () => browse({ key, typed: '' });
  const rows = listing.folders.map(each => row(FOLDER, each.name, each.name, look(each.key)));
  if (listing.parent) rows.unshift(row(UP, '..', 'The folder above', look(listing.parent)));
  if (!listing.folders.length && !listing.problem) {
    rows.push(Object.assign(document.createElement('li'), { className: 'folder-none', textContent: 'No subfolders' }));
  }
  list.replaceChildren(...rows);
  list.scrollTop = 0;
  if (menu.matches(':popover-open')) (list.querySelector('button') ?? $('[data-act=take]')).focus();
}

function browse(where) {
  trigger('browse', { ...where, number: ++looks });
}

function showMenu() {
  const { left, bottom, width } = $('.folder-path').getBoundingClientRect();
  const wide = Math.max(Math.min(width, 560), 320);
  Object.assign(menu.style, { left: `${left}px`, top: `${bottom + 4}px`, width: `${wide}px` });
  menu.showPopover();
  browse({ key: '', typed: path.value });
}

const actions = {
  open: () => open({ typed: path.value }),
  menu: () => (menu.matches(':popover-open') ? menu.hidePopover() : showMenu()),
  take: () => open({ key: props.listing.key }),
  refresh: () => open({ key: props.shown.key }),
};
element.addEventListener('click', event => actions[event.target.closest('[data-act]')?.dataset.act]?.());
menu.addEventListener('toggle', event => $('[data-act=menu]').setAttribute('aria-expanded', event.newState === 'open'));
menu.addEventListener('keydown', event => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  const buttons = [...menu.querySelectorAll('li button')], at = buttons.indexOf(document.activeElement);
  buttons[Math.max(0, Math.min(buttons.length - 1, at + by))]?.focus();
  event.preventDefault();
});
path.addEventListener('keydown', event => {
  if (event.key === 'Enter') open({ typed: path.value });
  else if (event.key === 'ArrowDown') showMenu();
  else if (event.key === 'Escape') { typed = false; path.value = folder; path.blur(); } else return;
  event.preventDefault();
});
path.addEventListener('focus', () => path.select());
path.addEventListener('input', () => { typed = path.value !== folder; });
for (const [box, other] of [[recursive], [videos, images], [images, videos]]) {
  box.addEventListener('change', () => {
    if (other && !box.checked) other.checked = true; // one kind at least
    if (folder) open({ key: props.shown.key });
  });
}

watch('shown', showBar);
watch('listing', showListing);
showBar();
