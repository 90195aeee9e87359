// The Caption button with its menu: which files it would caption, and how. Python sends `shown`, what it would use,
// `estimate`, how long that takes, and `problem`, why no job started; see captioner/ui/gallery/caption.py.
import { onButton } from './buttons.js';
import { FAILED, PENDING, asRanges, list, toRepair } from './files.js';
import { openTyped } from './folders.js';
import { onChange, selection } from './listing.js';
import { MODEL_FIELD, showPlan, startPlan, withSettings } from './plan.js';
import { showTrash } from './trash.js';
import { make, number, placeMenus, plural, showTab, update } from '../common.js';

const AGAIN = { overwrite: 'Replace the caption', prefix: 'Put the new text before it', append: 'Put the new text behind it' };
let element, props, trigger;
let isAwaited = false; // caption the folder that is being opened
let latest = null, now = null; // the state of the list, and what the button would do in it
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  placeMenus(element);
  startPlan(gradio);
  onButton('score', () => withSettings(() => trigger('score', { files: selection() })));
  $('#start').addEventListener('click', () => {
    if (!list.folder) openTyped(() => { isAwaited = true; show(latest); });
    else if (now.isPossible) caption();
    else $('#start-more').click();
  });
  $('#caption-menu').addEventListener('beforetoggle', ({ newState, target: menu }) => {
    if (newState !== 'open') menu.classList.remove('bad');
    else if (!menu.classList.contains('bad')) showMenu(latest); // else it says why no job started
  });
  gradio.watch('shown', showFolder);
  gradio.watch('estimate', () => { $('#start').title = props.estimate; });
  gradio.watch('problem', showProblem);
  showFolder();
  onChange(show);
}

// files: a selection; existing: what to do with captions in this job alone, "repair", or "" for the setting.
function caption(existing = '', files = selection()) {
  $('#caption-menu').hidePopover();
  withSettings(() => trigger('start', { files, existing }));
}

function showFolder() {
  const counts = $('.folder-counts');
  if (counts.shown !== props.shown.counts) counts.innerHTML = counts.shown = props.shown.counts; // escaped in Python
  showPlan(props.shown);
  showTrash(props.shown.deleted);
}

function show(state) {
  latest = state;
  now = plan(state);
  update($('#start'), { textContent: now.label });
  update($('.caption-shown'), { textContent: list.shown.length < list.count ? `${number(list.shown.length)} shown` : '' });
  if (!isAwaited || !list.folder) return;
  isAwaited = false;
  $('#start').click();
}

// {label, isPossible, note}: what the button says and does; the note says why it can do nothing by itself.
function plan({ existing, busy, counts }) {
  const { selectedCaptioned: captioned, selectedApproved: approved } = counts, selected = list.numSelected;
  const { [PENDING]: pending, [FAILED]: failed } = counts.states, verb = busy ? 'Queue' : 'Caption';
  const say = (label, isPossible = true, note = '') => ({ label, isPossible, note });
  if (!list.folder) return say('Caption', false, 'Open a folder first.');
  if (!list.count) return say('Caption', false, 'This folder holds no videos or images.');
  if (!selected) {
    if (busy) return say('Queue…', false, 'A job is running. Select files to caption them after it.');
    if (pending) return say(`Caption ${number(pending)} pending`);
    if (failed) return say(`Retry ${number(failed)} failed`);
    return say('Caption again…', false, 'Every file has a caption. Select the files that need another one.');
  }
  if (selected === approved) return say(`${verb}…`, false, 'The selected captions are approved. Unapprove those that need another one.');
  if (existing !== 'skip') {
    const some = approved ? `${number(selected - approved)} of ` : '', replaced = captioned - approved;
    return say(`${verb} ${some}${number(selected)} selected${replaced ? ` (${existing} ${number(replaced)})` : ''}`);
  }
  const left = selected - captioned, some = captioned ? `${number(left)} of ` : '';
  if (left) return say(`${verb} ${some}${number(selected)} selected`);
  return say(`${verb} ${number(selected)} again…`, false);
}

function showMenu({ counts, busy }) {
  const { selectedCaptioned: captioned, selectedApproved: approved } = counts, num = list.numSelected - approved;
  const rows = [], { [PENDING]: pending, [FAILED]: failed } = counts.states;
  if (num > 0 && captioned > approved) {
    rows.push(make('h4', {}, `${busy ? 'Queue' : 'Caption'} ${plural(num, 'selected file')} again, in this job alone`));
    rows.push(...Object.entries(AGAIN).map(([existing, label]) => choice(label, () => caption(existing), existing)));
  }
  const { num: numFaulty, marks: faulty } = toRepair();
  if (numFaulty) {
    const what = `${number(numFaulty)} that need${numFaulty === 1 ? 's' : ''} a look`;
    const repair = choice(busy ? `Queue a repair of ${what}` : `Repair ${what}`, () => caption('repair', chosen(faulty)), 'repair');
    repair.title = 'Caption them again, up to three times each, with what helps against their faults. Only better captions are kept.';
    rows.push(repair);
  }
  if (pending && (list.numSelected || failed) && !busy) rows.push(choice(`Caption ${number(pending)} pending`, withState(PENDING)));
  if (failed) rows.push(choice(`${busy ? 'Queue' : 'Retry'} ${number(failed)} failed`, withState(FAILED), 'failed'));
  $('#caption-menu .menu-note').textContent = now.note || (rows.length ? '' : 'Select files to caption them again.');
  $('#caption-menu .menu-choices').replaceChildren(...rows);
}

// Say in the menu below the button why no job started, and offer what helps.
function showProblem() {
  const { text, field } = props.problem, menu = $('#caption-menu');
  if (!text) return;
  const fields = { model: ['Choose a model', 'Settings', MODEL_FIELD], prompt_name: ['Choose a prompt', 'Prompts', ''] };
  const [label, tab, place] = fields[field] ?? [];
  menu.querySelector('.menu-note').textContent = text;
  const step = () => { menu.hidePopover(); showTab(tab, place); };
  menu.querySelector('.menu-choices').replaceChildren(...(tab ? [choice(label, step)] : []));
  menu.classList.add('bad');
  menu.showPopover({ source: $('#start-more') });
  menu.querySelector('button')?.focus();
}

function choice(label, act, name = '') {
  const button = make('button', { type: 'button' }, label);
  button.dataset.choice = name;
  button.addEventListener('click', act);
  return button;
}

// Caption all files of one state, whatever is selected or shown.
const withState = state => () => {
  caption('', chosen(Uint8Array.from(list.states, each => Number(each === state))));
};

// The files of these marks, as Python reads a selection.
const chosen = marks => JSON.stringify({ scan: list.scan, selected: asRanges(marks), total: 1 });
