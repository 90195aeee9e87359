// The bar over the grid while files are selected: what can be done with them.
import { listenToButtons, onButton } from './buttons.js';
import { list } from './files.js';
import { approve, onChange, select } from './listing.js';
import { address, number, update } from '../common.js';

const MAX_IDS_LENGTH = 6000; // characters that fit into an address
let element;
const $ = selector => element.querySelector(selector);

export function startSelection(given) {
  element = given;
  listenToButtons(element);
  onButton('approve', button => approve(!button.dataset.off));
  onButton('unselect', () => select('none'));
  onButton('caption', () => document.querySelector('#start')?.click());
  onChange(show);
}

function show({ counts, selected }) {
  const bar = $('.grid-selecting'), { selectedCaptioned: captioned, selectedHidden } = counts;
  update(bar, { hidden: !list.numSelected });
  if (bar.hidden) return;
  const hidden = selectedHidden ? `, ${number(selectedHidden)} not shown` : '';
  update($('.grid-selected'), { textContent: `${number(list.numSelected)} selected${hidden}` });
  showDownload(selected, captioned);
  showApprove(counts);
  $('[data-act=edit]').hidden = !captioned;
}

function showDownload(selected, numCaptions) {
  const link = $('.grid-zip'), tooLong = selected.length >= MAX_IDS_LENGTH;
  link.hidden = !numCaptions;
  link.title = tooLong ? 'The selected files lie too far apart for one download. Select fewer, or none for all captions.'
    : `Download the captions of ${number(list.numSelected)} selected`;
  link.setAttribute('aria-disabled', tooLong);
  if (tooLong) link.removeAttribute('href');
  else link.href = address(`captions.zip?scan=${list.scan}&ids=${selected}`);
}

function showApprove({ selectedCaptioned, selectedApproved }) {
  const button = $('.grid-approve'), takesBack = selectedCaptioned > 0 && selectedApproved === selectedCaptioned;
  button.hidden = !selectedCaptioned;
  button.dataset.off = takesBack ? '1' : '';
  button.lastElementChild.textContent = takesBack ? 'Unapprove' : 'Approve';
  button.title = takesBack ? 'Let jobs and bulk edits change them again (A)'
    : 'Protect the selected captions from jobs and bulk edits (A)';
}
