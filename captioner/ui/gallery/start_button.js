// What the start button says.
import { FAILED, PENDING, list } from './files.js';
import { number } from '../format.js';

// [its label, whether there is anything to do]. While a job runs, the button queues the selected files.
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
  if (failed) return [`Retry ${number(failed)} failed`, true];
  return ['Nothing pending', false];
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
export function showTooltip(text) {
  document.querySelector('#start').title = text;
}
