// The page around its tabs: after it was loaded again, it shows the tab that it showed before, as far scrolled.
import { keepOverReload } from './common.js';

const RESTORE_MS = 10_000;
const tabs = () => [...document.querySelectorAll('#tabs [role=tab]')];
const nextFrame = () => new Promise(resolve => requestAnimationFrame(resolve));

async function until(isThere) {
  const end = performance.now() + RESTORE_MS;
  while (!isThere() && performance.now() < end) await nextFrame();
}

export async function start() {
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
