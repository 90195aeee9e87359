// Short messages in the grid about what has just happened, which screen readers read out, too.
const SHOWN_MS = 4000, REST_MS = 300;
let line = null, unseen = null, timer = 0, resting = 0;

export function startSaying(element) {
  line = element.querySelector('.grid-said');
  unseen = element.querySelector('.unseen');
}

export function say(text) {
  if (!line) return;
  line.textContent = text;
  line.classList.add('on');
  clearTimeout(timer);
  timer = setTimeout(() => line.classList.remove('on'), SHOWN_MS);
}

// For screen readers alone, once it has come to rest.
export function whisper(text) {
  clearTimeout(resting);
  resting = setTimeout(() => { if (unseen) unseen.textContent = text; }, REST_MS);
}
