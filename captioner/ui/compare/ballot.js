// One file to vote on: the clip above its captions, in the order in which they came, and the keys.
import { address, make } from '../common.js';

let shownMedia = '';

// Show the clip and its captions; the clip goes on playing if it is the same.
export function showBallot(frame, texts, { media, kind, texts: captions }) {
  if (media !== shownMedia) {
    shownMedia = media;
    frame.replaceChildren(draw(frame, media, kind));
  }
  texts.dataset.count = captions.length;
  texts.replaceChildren(...captions.map((caption, at) => {
    const pick = make('button', { type: 'button', className: 'plain', title: `Pick this caption (${at + 1})` }, `Pick ${at + 1}`);
    Object.assign(pick.dataset, { act: 'pick', pick: at + 1 });
    const text = make('p', { dir: 'auto', tabIndex: 0 }, caption);
    return make('article', { ariaLabel: `Caption ${at + 1}` }, text, pick);
  }));
}

export function clearBallot(frame) {
  frame.replaceChildren();
  shownMedia = '';
}

function draw(frame, media, kind) {
  const source = address(media), poster = address(`${media}.jpg`);
  const options = { controls: true, loop: true, autoplay: true, playsInline: true, poster, src: source };
  const made = kind === 'image' ? make('img', { src: source, alt: '' }) : make('video', options);
  if (kind !== 'image') made.muted = true;
  made.addEventListener('error', () => {
    const still = make('img', { src: poster, alt: '' });
    still.addEventListener('error', () => frame.replaceChildren(make('p', {}, 'This file cannot be shown.')), { once: true });
    frame.replaceChildren(still);
  }, { once: true });
  return made;
}

// Digits pick, 0 and T are a tie, S skips, U undoes, Space plays; arrows pick one of two, or move between more.
export function pressKey(event, actions) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select')) return;
  const picks = [...event.currentTarget.querySelectorAll('[data-pick]')], key = event.key.toLowerCase();
  const side = { arrowleft: 0, arrowright: 1 }[key], video = event.currentTarget.querySelector('video');
  if (picks[Number(key) - 1]) actions.pick(picks[Number(key) - 1]);
  else if (key === '0' || key === 't') actions.tie();
  else if (key === 's') actions.skip();
  else if (key === 'u' || key === 'backspace') actions.undo();
  else if (key === ' ' && video && event.target.tagName !== 'BUTTON') video.paused ? video.play().catch(() => {}) : video.pause();
  else if (side !== undefined && event.target.tagName !== 'VIDEO') move(picks, side, actions);
  else return;
  event.preventDefault();
}

function move(picks, side, actions) {
  if (picks.length === 2) { actions.pick(picks[side]); return; }
  const at = picks.indexOf(document.activeElement), to = at < 0 ? (side ? 0 : picks.length - 1) : at + (side ? 1 : -1);
  picks[(to + picks.length) % picks.length]?.focus();
}
