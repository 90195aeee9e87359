// The page around its tabs: the theme, the sheet of keys, and what was shown before the page was loaded again: its tab,
// as far scrolled.
import { keepOverReload } from './common.js';

const RESTORE_MS = 10_000;
const THEME = 'vcs-theme', THEMES = ['system', 'light', 'dark']; // head.js shows the one that is stored
const tabs = () => [...document.querySelectorAll('#tabs [role=tab]')];
const nextFrame = () => new Promise(resolve => requestAnimationFrame(resolve));

async function until(isThere) {
  const end = performance.now() + RESTORE_MS;
  while (!isThere() && performance.now() < end) await nextFrame();
}

export function start({ element }) {
  startTheme(element.querySelector('[data-act=theme]'));
  startKeys(element.querySelector('#page-keys'));
  keepFocus();
  for (const link of document.querySelectorAll('link[rel=modulepreload][href*="/vcs/"]')) link.remove(); // they have done their work
  new MutationObserver(mendGradio).observe(document.body, { childList: true, subtree: true });
  return restore();
}

function startTheme(button) {
  const show = theme => { button.lastChild.textContent = button.title = `Theme: ${theme}`; button.dataset.theme = theme; };
  show(localStorage.getItem(THEME) ?? 'system');
  button.addEventListener('click', () => {
    const theme = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
    if (theme === 'system') localStorage.removeItem(THEME);
    else localStorage.setItem(THEME, theme);
    document.dispatchEvent(new Event(THEME));
    show(theme);
  });
}

function startKeys(sheet) {
  const rows = sheet.querySelector('template'); // the page is lighter without them
  sheet.addEventListener('beforetoggle', () => rows.replaceWith(rows.content), { once: true });
  const isForInputMethod = event => event.isComposing || event.keyCode === 229; // Safari tells by the code alone
  addEventListener('keydown', event => { if (isForInputMethod(event)) event.stopPropagation(); }, { capture: true });
  document.addEventListener('keydown', event => {
    if (event.key !== '?' || event.target.closest?.('input, textarea, select, [contenteditable], dialog')) return;
    sheet.togglePopover();
    event.preventDefault();
  });
}

// A button that is disabled while the app works loses the focus, and gets it back when the work is done.
function keepFocus() {
  let left = null;
  addEventListener('focusout', ({ target }) => { if (target.disabled) left = target; }); // before the observer is called
  new MutationObserver(changes => {
    for (const { target } of changes) {
      if (target.disabled && target === document.activeElement) left = target;
      else if (target === left && !target.disabled && document.activeElement === document.body) target.focus();
    }
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ['disabled'] });
}

// Gradio's toasts are buttons, which fold their text, around a button that closes them: no screen reader can tell.
// Its lists of choices scroll, so browsers stop there for Tab, but the list is gone by then and the focus with it.
function mendGradio() {
  for (const choices of document.querySelectorAll('.option-list:not([tabindex])')) choices.tabIndex = -1;
  for (const header of document.querySelectorAll('.toast-header[role=button]')) {
    header.removeAttribute('role');
    header.removeAttribute('tabindex');
  }
}

async function restore() {
  let kept = keepOverReload('page', () => kept ?? {
    tab: tabs().findIndex(each => each.ariaSelected === 'true'), scroll: scrollY,
  });
  if (!kept) return;
  const { tab, scroll } = kept, root = document.documentElement;
  await until(() => document.querySelector('#grid [data-ready], #grid[data-ready]')); // it measures its tiles while shown
  if (tab > 0) tabs()[tab]?.click();
  kept = null;
  await until(() => root.scrollHeight - innerHeight >= scroll);
  if (!scrollY) scrollTo(0, scroll);
}
