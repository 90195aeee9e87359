// The width of the caption panel, which a person can drag.
const LEAST = 300, MOST = 900, USUAL = 400, KEY_STEP = 24;
const LEFT_FOR_GRID = 380;
const STORED = 'vcs-panel-width';

function setWidth(width) {
  const chosen = Math.round(Math.max(LEAST, Math.min(MOST, innerWidth - LEFT_FOR_GRID, width)));
  document.documentElement.style.setProperty('--panel-width', `${chosen}px`);
  return chosen;
}

const keepWidth = width => localStorage.setItem(STORED, setWidth(width));

export function startWidth(element) {
  const handle = element.querySelector('.panel-drag');
  handle.addEventListener('pointerdown', event => {
    const width = element.offsetWidth, start = event.clientX;
    const follow = moved => keepWidth(width + start - moved.clientX);
    handle.setPointerCapture(event.pointerId);
    handle.addEventListener('pointermove', follow);
    handle.addEventListener('pointerup', () => handle.removeEventListener('pointermove', follow), { once: true });
    event.preventDefault();
  });
  handle.addEventListener('dblclick', () => keepWidth(USUAL));
  handle.addEventListener('keydown', event => {
    const by = { ArrowLeft: KEY_STEP, ArrowRight: -KEY_STEP }[event.key];
    if (!by || event.altKey) return;
    keepWidth(element.offsetWidth + by);
    event.preventDefault();
  });
  setWidth(Number(localStorage.getItem(STORED)) || Math.min(USUAL, innerWidth * 0.32));
}
