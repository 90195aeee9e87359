// The settings form in the browser. `saved` are the settings that the app sent last. A field that a person has changed
// and not saved keeps its value when another browser saves.
import { keepOverReload, plural } from '../common.js';

const OTHER = 'other'; // the choice that opens a box for a model of one's own
let element, props, trigger, saved = null, numAnswers = 0, described = '';
// name -> {value, before}: what was not saved when the page was left, until the form is filled
let unsaved = keepOverReload('settings', () => unsaved) ?? {};

const $ = selector => element.querySelector(selector);
const row = name => document.getElementById(`field-${name}`);
const input = name => document.getElementById(`input-${name}`);
const otherModel = () => input('model').nextElementSibling;
const names = () => [...element.querySelectorAll('.field')].map(field => field.dataset.name);
const defaultOf = name => JSON.parse(row(name).dataset.default);
const same = (a, b) => String(a ?? '') === String(b ?? '');

// How many changes are not saved.
export const numUnsaved = () => Object.keys(unsaved).length;

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  const form = $('form'), act = (id, listener) => $(id).addEventListener('click', listener);
  form.addEventListener('submit', event => { event.preventDefault(); send('save'); });
  form.addEventListener('input', event => { if (event.target.type !== 'search') { showChanges(); askAbout(); } });
  form.addEventListener('change', describe);
  form.addEventListener('click', event => resetField(event.target.closest('.field-reset')));
  act('#load-model', () => send('load_model'));
  act('#unload-model', () => trigger('unload_model', {}));
  act('#discard-settings', discard);
  $('[type=search]').addEventListener('input', event => search(event.target.value));
  startReset($('#reset-settings'));
  gradio.watch(['now', 'prompts'], () => fill());
  gradio.watch(['state', 'report', 'may_load', 'may_unload'], showModel);
  gradio.watch('answer', takeAnswer);
  gradio.watch('about', showAbout);
  fill();
  showModel();
}

// ---- values ----
function read(name) {
  const control = input(name);
  switch (row(name).dataset.kind) {
    case 'switch': return control.checked;
    case 'choice': return control.querySelector(':checked')?.value ?? '';
    case 'number': return control.value === '' ? null : Number(control.value);
    case 'model': return control.value === OTHER ? otherModel().value.trim() : control.value;
    default: return control.value;
  }
}

function write(name, value) {
  const control = input(name), { kind } = row(name).dataset, text = value ?? '';
  if (kind === 'switch') control.checked = value;
  else if (kind === 'choice') for (const each of control.querySelectorAll('input')) each.checked = each.value === text;
  else if (kind === 'model') writeModel(control, text);
  else {
    if (kind === 'select') addOption(control, text);
    control.value = text;
  }
}

function writeModel(control, value) {
  const isKnown = [...control.options].some(option => option.value === value && value !== OTHER);
  control.value = isKnown ? value : OTHER;
  otherModel().value = isKnown ? '' : value;
  otherModel().hidden = isKnown;
}

function addOption(control, value) {
  if (![...control.options].some(option => option.value === value)) control.add(new Option(value, value));
}

const isChanged = name => !same(read(name), saved[name]);

// ---- what the app sends ----
// sent: the values that were saved from here; all: also overwrite what is not saved.
function fill({ sent = {}, all = false, now = JSON.parse(props.now || 'null') } = {}) {
  if (!now) return;
  const chosen = input('prompt_name');
  for (const prompt of props.prompts ?? []) addOption(chosen, prompt);
  const isFirst = !saved, before = { ...now, ...saved };
  saved = now;
  if (isFirst) {
    for (const name of names()) write(name, now[name]);
    for (const [name, kept] of Object.entries(unsaved)) { write(name, kept.value); before[name] = kept.before; }
  }
  for (const name of names()) {
    const value = read(name), isSaved = name in sent && same(value, sent[name]);
    if (all || isSaved || same(value, before[name])) {
      if (!same(value, now[name])) write(name, now[name]);
    } else if (!same(before[name], now[name]) && !same(value, now[name])) {
      row(name).querySelector('.changed-outside').textContent =
        `Changed in another browser to: ${now[name] ?? 'auto'}`;
    }
  }
  describe(); // another browser may have changed the model
  if (isFirst) $('fieldset').disabled = false;
  showChanges();
}

function takeAnswer() {
  const { number = 0, wrong = {} } = props.answer ?? {};
  if (number <= numAnswers) return;
  numAnswers = number;
  fill(props.answer);
  showProblems(wrong);
}

function showModel() {
  $('#model-state').innerHTML = props.state ?? ''; // of model.py, which escapes all texts
  $('#model-report').innerHTML = props.report ?? '';
  $('#load-model').disabled = !props.may_load;
  $('#unload-model').disabled = !props.may_unload;
}

function showAbout() {
  const { key, note = '', sampling = {} } = props.about;
  if (key !== described) return; // of a model before this one
  $('#model-note').innerHTML = note; // of model.py, too
  for (const [name, text] of Object.entries(sampling)) input(name).placeholder = text;
}

// ---- what a person does ----
function send(event) {
  if (!saved) return;
  const changes = Object.fromEntries(names().filter(isChanged).map(name => [name, read(name)]));
  trigger(event, { changes, number: numAnswers + 1 });
}

function describe(event) {
  const name = event?.target.closest('[data-name]')?.dataset.name;
  if (name === 'model') {
    otherModel().hidden = input('model').value !== OTHER;
    if (event.target === input('model') && !otherModel().hidden) otherModel().focus();
  }
  if (event) showChanges();
  askAbout();
}

// While a name is typed, and not when the field is left: the note may change its height, and the click that leaves the
// field would miss its button.
function askAbout() {
  const asked = { model: read('model'), quantization: read('quantization') }, key = Object.values(asked).join('\n');
  if (key === described) return;
  described = key;
  trigger('describe', { ...asked, key });
}

function discard() {
  for (const name of names()) write(name, saved[name]);
  describe();
  showChanges();
}

function resetField(button) {
  if (!button) return;
  const { name } = button.closest('.field').dataset;
  write(name, defaultOf(name));
  describe({ target: input(name) });
  (input(name).querySelector('input') ?? input(name)).focus();
}

function startReset(box) {
  const dialog = box.querySelector('[popover]'), on = (selector, act) =>
    box.querySelector(selector).addEventListener('click', act);
  on('.ask', () => { dialog.showPopover(); box.querySelector('.no').focus(); });
  on('.no', () => dialog.hidePopover());
  on('.yes', () => { dialog.hidePopover(); trigger('reset', { number: numAnswers + 1 }); });
}

// ---- marks ----
function showChanges() {
  if (!saved) return;
  unsaved = {};
  let numOwn = 0;
  for (const name of names()) {
    const field = row(name), value = read(name), isNew = isChanged(name);
    const isOwn = !same(value, defaultOf(name));
    if (isNew) unsaved[name] = { value, before: saved[name] };
    field.classList.toggle('changed', isNew);
    field.classList.toggle('own', isOwn);
    field.querySelector('.field-reset').hidden = !isOwn;
    numOwn += isOwn && Boolean(field.closest('#settings-advanced'));
    if (!isNew) field.querySelector('.changed-outside').textContent = '';
    if (field.classList.contains('invalid') && !same(value, field.dataset.refused)) showProblem(name, '');
  }
  $('#settings-bar').classList.toggle('changed', numUnsaved() > 0);
  $('#settings-bar .state').textContent = numUnsaved() ? plural(numUnsaved(), 'unsaved change') : 'Everything is saved';
  $('#settings-advanced summary i').textContent = numOwn ? `${numOwn} changed` : '';
  $('#label-prompt_name').closest('.field').classList.toggle('unused', Boolean(read('prompt')));
  $('#follows').textContent = JSON.parse($('#follows').dataset.all)[read('target')] ?? '';
}

// reason: what is wrong with the value, or "".
function showProblem(name, reason) {
  const field = row(name);
  field.querySelector('.wrong').textContent = reason;
  field.classList.toggle('invalid', Boolean(reason));
  field.dataset.refused = read(name) ?? '';
  for (const control of field.querySelectorAll('input, select, textarea')) {
    control.setAttribute('aria-invalid', String(Boolean(reason)));
  }
}

// problems: {name: what is wrong}
function showProblems(problems) {
  for (const name of names()) showProblem(name, problems[name] ?? '');
  const first = names().find(name => name in problems);
  if (!first) return;
  $('#settings-bar .state').textContent = 'Not saved. Correct the marked fields.';
  search($('[type=search]').value = '');
  if (row(first).closest('details')) row(first).closest('details').open = true;
  row(first).scrollIntoView({ block: 'center', behavior: 'smooth' });
  input(first).focus({ preventScroll: true });
}

// ---- search ----
function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean), advanced = $('#settings-advanced');
  let numShown = 0;
  for (const name of names()) {
    const text = `${name} ${row(name).querySelector('.about').textContent}`.toLowerCase();
    row(name).hidden = !words.every(word => text.includes(word));
    numShown += !row(name).hidden;
  }
  for (const card of element.querySelectorAll('.card:has(.field)')) card.hidden = !card.querySelector('.field:not([hidden])');
  advanced.hidden = words.length > 0 && !advanced.querySelector('.field:not([hidden])');
  if (words.length) advanced.open = true;
  $('.settings-none').hidden = numShown > 0;
}
