// The width of the caption panel; after panel.js.
const WIDTH = { least: 300, most: 900, usual: 400 };
function setWidth(width) {
  const most = Math.min(WIDTH.most, innerWidth - 380);
  const chosen = Math.round(Math.max(WIDTH.least, Math.min(most, width)));
  document.documentElement.style.setProperty('--panel-width', `${chosen}px`);
  return chosen;
}
const keepWidth = width => localStorage.setItem('vcs-panel-width', setWidth(width));
const drag = $('.panel-drag');
drag.addEventListener('pointerdown', event => {
  const from = element.offsetWidth, start = event.clientX;
  const follow = moved => keepWidth(from + start - moved.clientX);
  drag.setPointerCapture(event.pointerId);
  drag.addEventListener('pointermove', follow);
  drag.addEventListener('pointerup', () => drag.removeEventListener('pointermove', follow), { once: true });
  event.preventDefault();
});
drag.addEventListener('dblclick', () => keepWidth(WIDTH.usual));
drag.addEventListener('keydown', event => {
  const by = { ArrowLeft: 24, ArrowRight: -24 }[event.key];
  if (!by || event.altKey) return;
  keepWidth(element.offsetWidth + by);
  event.preventDefault();
});

setWidth(Number(localStorage.getItem('vcs-panel-width')) || Math.min(WIDTH.usual, innerWidth * 0.32));
