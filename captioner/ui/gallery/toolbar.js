// The two toolbars of the grid, the start button, and what stands in the place of a grid that shows no files.
import { FAILED, PENDING, list, view } from './files.js';
import { address, number } from '../common.js';

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
  const [pending, done, failed, edited] = counts.states, { videos, approved, outside, flawed } = counts, { count } = list;
  showChoices('state', { all: count, pending, done: done + edited, failed, edited, approved, outside, flawed }, view.state);
  showChoices('kind', { video: videos, image: count - videos }, view.kind);
  const parts = list.shown.length < count ? [`${number(list.shown.length)} shown`] : [];
  if (list.numSelected) parts.push(`${number(list.numSelected)} selected`);
  $('.grid-selected').textContent = parts.join(' · ') || 'Select';
  showDownload(selected, list.numSelected ? counts.selectedCaptioned : done + edited);
  showApprove(counts);
}

// counts: how many files there are for the value of each button; a button may have none.
function showChoices(name, counts, chosen) {
  for (const button of element.querySelectorAll(`[data-${name}][aria-pressed]`)) {
    const value = button.dataset[name], shown = button.querySelector('i');
    if (shown && value in counts) shown.textContent = number(counts[value]);
    button.setAttribute('aria-pressed', value === chosen);
  }
}

function showDownload(selected, numCaptions) {
  const link = $('.grid-zip'), tooLong = selected.length >= MAX_IDS_LENGTH, isPossible = numCaptions && !tooLong;
  link.title = tooLong
    ? 'The selected files lie too far apart for one download. Select fewer, or none for all captions.'
    : !numCaptions ? 'No captions to download'
    : `Download ${list.numSelected ? `the captions of ${number(list.numSelected)} selected` : 'all captions'}`;
  link.setAttribute('aria-disabled', !isPossible);
  if (isPossible) link.href = address(`captions.zip?scan=${list.scan}${selected && `&ids=${selected}`}`);
  else link.removeAttribute('href');
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

// [the start button's label, whether there is anything to do]. While a job runs, it queues the selected files.
export function startLabel(existing, busy, counts) {
  const [label, possible] = labelWhenIdle(existing, counts);
  if (!busy) return [label, possible];
  return list.numSelected ? [label.replace('Caption', 'Queue'), possible] : ['Select files to queue', false];
}

function labelWhenIdle(existing, counts) {
  if (!list.count) return ['Caption', false];
  if (list.numSelected) return existing === 'skip' ? labelSkipping(counts) : labelReplacing(existing, counts);
  const { [PENDING]: pending, [FAILED]: failed } = counts.states;
  if (pending) return [`Caption ${number(pending)} pending`, true];
  return failed ? [`Retry ${number(failed)} failed`, true] : ['Nothing pending', false];
}

function labelSkipping({ selectedCaptioned }) {
  const selected = list.numSelected, left = selected - selectedCaptioned;
  if (!left) return [selected === 1 ? 'Has a caption' : 'All have captions', false];
  return [`Caption ${selectedCaptioned ? `${number(left)} of ` : ''}${number(selected)} selected`, true];
}

function labelReplacing(existing, { selectedCaptioned, selectedApproved }) {
  const selected = list.numSelected, replaced = selectedCaptioned - selectedApproved;
  if (selected === selectedApproved) return [selected === 1 ? 'Is approved' : 'All are approved', false];
  const some = selectedApproved ? `${number(selected - selectedApproved)} of ` : '';
  return [`Caption ${some}${number(selected)} selected${replaced ? ` (${existing} ${number(replaced)})` : ''}`, true];
}

// Gradio's button has no tooltip of its own.
export const showTooltip = text => { document.querySelector('#start').title = text; };
