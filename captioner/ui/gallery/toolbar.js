// The two toolbars of the grid, and what stands in its place while it shows no files.
import { list, view } from './files.js';
import { number } from '../format.js';
import { address } from '../requests.js';

const MAX_IDS_LENGTH = 6000; // characters that fit into an address
const EMPTY = {
  folder: ['No folder is open', 'Type the path of a folder of videos and images above, or browse for one.',
    'Browse folders'],
  media: ['No videos or images here',
    'Include the subfolders or both kinds, copy some files here and refresh, or choose another folder.',
    'Choose another folder'],
  match: ['Nothing matches', 'No file matches this search and status.', 'Show all files'],
  broken: ['Cannot load the list of files', 'The app may have been stopped. Start it again, then try again.',
    'Try again'],
};
let element;
const $ = selector => element.querySelector(selector);

export function startToolbar(given) {
  element = given;
  showSort();
}

// Show what there is of everything, and what the buttons would do. selected: the indices as ranges.
export function showToolbar(counts, selected) {
  const [pending, done, failed, edited] = counts.states, { videos, approved, outside } = counts;
  const states = { all: list.count, pending, done: done + edited, failed, edited, approved, outside };
  showChoices('state', states, view.state);
  showChoices('kind', { video: videos, image: list.count - videos }, view.kind);
  const parts = list.shown.length < list.count ? [`${number(list.shown.length)} shown`] : [];
  if (list.numSelected) parts.push(`${number(list.numSelected)} selected`);
  $('.grid-selected').textContent = parts.join(' · ') || 'Select';
  showDownload(selected, list.numSelected ? counts.selectedCaptioned : done + edited);
  showApprove(counts);
}

// counts: how many files there are for the value of each button; a button may have none.
function showChoices(name, counts, chosen) {
  for (const button of element.querySelectorAll(`[data-${name}][aria-pressed]`)) {
    const value = button.dataset[name];
    if (value in counts && button.querySelector('i')) button.querySelector('i').textContent = number(counts[value]);
    button.setAttribute('aria-pressed', value === chosen);
  }
}

function showDownload(selected, numCaptions) {
  const link = $('.grid-zip'), tooLong = selected.length >= MAX_IDS_LENGTH;
  const what = list.numSelected ? `the captions of ${number(list.numSelected)} selected` : 'all captions';
  link.title = tooLong
    ? 'The selected files lie too far apart for one download. Select fewer, or none for all captions.'
    : numCaptions ? `Download ${what}` : 'No captions to download';
  link.setAttribute('aria-disabled', tooLong || !numCaptions);
  if (tooLong || !numCaptions) link.removeAttribute('href');
  else link.href = address(`captions.zip?scan=${list.scan}${selected && `&ids=${selected}`}`);
}

function showApprove({ selectedCaptioned, selectedApproved }) {
  const button = $('.grid-approve'), takesBack = selectedCaptioned > 0 && selectedApproved === selectedCaptioned;
  button.disabled = !selectedCaptioned;
  button.dataset.off = takesBack ? '1' : '';
  button.lastElementChild.textContent = takesBack ? 'Unapprove' : 'Approve';
  button.title = !selectedCaptioned ? 'Select captions to approve them (A)'
    : takesBack ? 'Let jobs and bulk edits change them again (A)'
    : 'Protect the selected captions from jobs and bulk edits (A)';
}

export function showSort() {
  $('.grid-sort select').value = view.key;
  const button = $('[data-act=direction]');
  button.setAttribute('aria-pressed', view.descending);
  button.title = view.descending ? 'Descending' : 'Ascending';
}

// why: a key of EMPTY, or "" if there are files to show.
export function showEmpty(why) {
  const empty = $('.grid-empty');
  empty.hidden = !why;
  $('.grid-view').classList.toggle('blank', Boolean(why));
  if (!why) return;
  empty.dataset.why = why;
  for (const [i, tag] of ['b', 'p', 'button'].entries()) empty.querySelector(tag).textContent = EMPTY[why][i];
}
