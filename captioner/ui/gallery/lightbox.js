// The opened file as large as the page; clips can be stepped through frame by frame.
import { edit } from './edit.js';
import { address, clock, fetchJson, make } from '../common.js';

let dialog = null, video = null, info = { fps: 0, frames: 0 };

export const isEnlarged = () => Boolean(dialog?.open);

// step(by): opens another file, which shows here, too.
export function enlarge(step) {
  dialog ??= build(step);
  dialog.showModal();
  dialog.focus(); // a button would take Space, which plays and pauses
  showEnlarged();
}

function build(step) {
  const button = (act, title, text) => {
    const made = make('button', { type: 'button', title }, text);
    made.addEventListener('click', act);
    return made;
  };
  const bar = make('div', { className: 'lightbox-bar' }, make('b'), make('span', { role: 'status' }),
    button(() => stepFrame(-1), 'Previous frame (, or Left)', '‹ Frame'),
    button(() => stepFrame(1), 'Next frame (. or Right)', 'Frame ›'), button(() => dialog.close(), 'Close (Esc)', 'Close'));
  const made = make('dialog', { className: 'lightbox', tabIndex: -1, ariaLabel: 'The opened file, enlarged' },
    make('div', { className: 'lightbox-media' }), bar);
  made.addEventListener('keydown', event => press(event, step), { capture: true });
  made.addEventListener('close', () => { made.firstChild.replaceChildren(); video = null; });
  made.firstChild.addEventListener('click', event => { if (event.target !== video) made.close(); });
  document.querySelector('.gradio-container').append(made);
  return made;
}

// Show the opened file, if anything is enlarged.
export async function showEnlarged() {
  if (!isEnlarged()) return;
  const { id, version, kind, name } = edit.file, [name_, state, ...frameButtons] = dialog.lastChild.children;
  const poster = address(`thumb/${id}.jpg?v=${version}`), source = address(`media/${id}`);
  const fallback = () => dialog.firstChild.replaceChildren(make('img', { src: poster, alt: '' }));
  const options = { controls: true, loop: true, autoplay: true, playsInline: true, poster, src: source };
  const media = kind === 'image' ? make('img', { src: source, alt: '' }) : make('video', options);
  video = kind === 'image' ? null : media;
  if (video) video.muted = true;
  media.addEventListener('error', fallback, { once: true });
  dialog.firstChild.replaceChildren(media);
  name_.textContent = name_.title = name;
  state.textContent = '';
  frameButtons.slice(0, 2).forEach(each => { each.hidden = !video; });
  if (!document.activeElement.offsetParent) dialog.focus(); // it was on one of them
  info = { fps: 0, frames: 0 };
  if (!video) return;
  for (const type of ['timeupdate', 'seeked']) video.addEventListener(type, showFrame);
  const found = await fetchJson(`info/${id}.json`).catch(() => null);
  if (found && edit.file.id === id) { info = found; showFrame(); }
}

const frameNow = () => Math.min(Math.max(0, info.frames - 1), Math.floor(video.currentTime * info.fps + 0.01));

function showFrame() {
  if (!video || !info.fps) return;
  const hundredths = String(Math.floor(video.currentTime * 100) % 100).padStart(2, '0');
  dialog.lastChild.children[1].textContent =
    `Frame ${frameNow() + 1} of ${info.frames} · ${clock(Math.floor(video.currentTime))}.${hundredths}`;
}

// The middle of the frame's time, so that rounding does not show its neighbor.
function stepFrame(by) {
  if (!video || !info.fps) return;
  video.pause();
  const frame = Math.max(0, Math.min(info.frames - 1, frameNow() + by));
  video.currentTime = (frame + 0.5) / info.fps;
}

function press(event, step) {
  const by = { ArrowLeft: -1, ',': -1, ArrowRight: 1, '.': 1 }[event.key];
  if (by && event.altKey) step(by);
  else if (by && video) stepFrame(by);
  else if (event.key === ' ' && video && event.target.tagName !== 'BUTTON') video.paused ? video.play().catch(() => {}) : video.pause();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
