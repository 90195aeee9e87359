// The display of what the Dataset tab is doing, which its two parts share; see captioner/ui/dataset/work.py.
import { number, showText } from '../common.js';

// Return a function that calls `draw` if Python has sent something new, and not for what it has drawn already.
export function onNews(draw) {
  let drawn = '';
  return shown => {
    if (!shown.folder && shown.folder !== '') return; // nothing was sent yet
    const now = JSON.stringify(shown);
    if (now === drawn) return;
    drawn = now;
    draw(shown);
  };
}

// Show how far the work is, or else why it failed or how it ended.
export function showWork(element, { busy, done, total, error }, ended) {
  const bar = element.querySelector('.dataset-progress'), text = element.querySelector('.dataset-now');
  bar.hidden = !busy;
  bar.toggleAttribute('data-unknown', !total);
  bar.firstChild.style.width = total ? `${100 * done / total}%` : '';
  showText(text, busy ? `${busy}${total ? `: ${number(done)} of ${number(total)}` : '…'}` : error || ended);
  text.classList.toggle('bad', Boolean(error) && !busy);
}
