// What all modules share: parts of the page, texts for people, requests to the app.

// Relative to this module, so that it is right below a root path and behind a share link, too.
const ROUTES = new URL('../../', import.meta.url).href;
const NAME_END = /^(.*?)(\P{M}\p{M}*.{0,9})$/su; // the last ten characters; marks stay with the letter before them

export const address = path => ROUTES + path;

// The answer as JSON. Throws if the app cannot be reached or refuses.
export async function fetchJson(path) {
  const answer = await fetch(address(path), { credentials: 'same-origin' });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

// A new element with properties (not attributes) and children. Texts go in as text, never as HTML.
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What `read` returns is kept for this browser tab when the page is left. Returns what was kept before, or null.
export function keepOverReload(name, read) {
  const key = `vcs-${name}`;
  addEventListener('pagehide', () => sessionStorage.setItem(key, JSON.stringify(read())));
  return JSON.parse(sessionStorage.getItem(key));
}

// A file's name without its folders.
export const plainName = name => name.slice(name.lastIndexOf('/') + 1);

// A name, or two spans of one that is longer than `fits`: the style sheet cuts the first, so that the end is seen.
export function nameParts(name, fits) {
  const [, start, end] = (name.length > fits && name.match(NAME_END)) || ['', '', ''];
  return start ? [make('span', {}, start), make('span', {}, end)] : [name];
}

// Set properties that differ: even the same text would be laid out again.
export function update(node, properties) {
  for (const [name, value] of Object.entries(properties)) if (node[name] !== value) node[name] = value;
}

export function showText(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

// captioner/formatting.py writes the same texts in Python.
const format = new Intl.NumberFormat('en');
export const number = count => format.format(count);
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
export const capitalize = text => text[0].toUpperCase() + text.slice(1);

// A time as on a player: "1:05" or "1:02:03".
export function clock(seconds) {
  const whole = Math.round(seconds), pad = part => String(part).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, pad(whole % 60)];
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

// A POSIX time in the time zone and language of the browser.
export const dateTime = seconds =>
  new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });

// Let each menu of a part of the page open right below its button, toward the middle of the screen.
export function placeMenus(element) {
  for (const menu of element.querySelectorAll('.menu[popover]')) {
    const button = element.querySelector(`[popovertarget=${menu.id}]`);
    menu.addEventListener('beforetoggle', event => {
      const { left, right, bottom } = button.getBoundingClientRect(), isLeft = left + right < innerWidth;
      if (event.newState !== 'open') return;
      Object.assign(menu.style, {
        top: `${bottom + 4}px`, left: isLeft ? `${Math.max(8, left)}px` : 'auto',
        right: isLeft ? 'auto' : `${Math.max(8, innerWidth - right)}px`,
      });
    });
  }
}

// Show a tab of the page and the focus on one of its fields, which may take a moment to be drawn.
export function showTab(name, selector = '') {
  const tab = [...document.querySelectorAll('#tabs [role=tab]')].find(each => each.textContent.trim() === name);
  tab?.click();
  let tries = selector ? 60 : 0;
  const focus = () => {
    const field = document.querySelector(selector);
    if (field?.offsetParent) field.focus();
    else if (tries--) requestAnimationFrame(focus);
  };
  if (selector) focus();
}
