// The settings form in the browser. `names` are those of its fields, `values` what the controls hold, in that order,
// and `filled` the settings that the server sent last. A field that a person has changed and not saved keeps its value.
import { keepOverReload, plural } from '../common.js';

const row = name => document.getElementById(`field-${name}`);
const same = (a, b) => String(a ?? '') === String(b ?? '');
const parsed = text => JSON.parse(text || '{}');
let unsaved = {}; // name -> {value, before}; what the form held when the page was left, until it is filled
let isFilled = false; // two events may fill the form at the same time

unsaved = keepOverReload('settings', () => unsaved) ?? {};

// In a list that takes typed text, what is being typed is not a value yet.
const isTyping = name => Boolean(row(name)?.querySelector('[role=combobox]:focus'));

// fresh: {now: the settings, sent: the values that were saved from here, if any}
export function merge(names, fresh, filled, ...values) {
  const { now, sent = {} } = parsed(fresh), before = parsed(filled);
  if (!now) return [filled, ...values];
  if (!isFilled) restore(names, before, values);
  const merged = names.map((name, i) => {
    const isSaved = name in sent && same(values[i], sent[name]);
    const isUnchanged = isSaved || !(name in before) || same(values[i], before[name]);
    if (isUnchanged && (isSaved || same(before[name], now[name]) || !isTyping(name))) return now[name];
    const line = row(name)?.querySelector('.changed-outside'), isNews = !same(before[name], now[name]);
    if (line && isNews && !same(values[i], now[name])) {
      line.textContent = `Changed in another browser to: ${now[name] ?? 'auto'}`;
    }
    return values[i];
  });
  showUnsaved(names, now, merged);
  return [JSON.stringify(now), ...merged];
}

// Put the unsaved changes from before a reload into the form's first values.
function restore(names, before, values) {
  names.forEach((name, i) => {
    if (name in unsaved) [before[name], values[i]] = [unsaved[name].before, unsaved[name].value];
  });
}

// Show which fields are not saved. A field that has changed since it was refused is not marked as wrong any more.
export function mark(names, filled, ...values) {
  isFilled ||= Boolean(filled);
  showUnsaved(names, parsed(filled), values);
}

function showUnsaved(names, before, values) {
  const bar = document.getElementById('settings-bar');
  const changed = names.map((name, i) => name in before && !same(values[i], before[name]));
  names.forEach((name, i) => markField(name, changed[i], values[i]));
  const dirty = names.flatMap((name, i) => (changed[i] ? [[name, { value: values[i], before: before[name] }]] : []));
  if (isFilled) unsaved = Object.fromEntries(dirty);
  const count = changed.filter(Boolean).length;
  bar?.classList.toggle('changed', count > 0);
  if (bar) bar.querySelector('.state').textContent = count ? plural(count, 'unsaved change') : 'Everything is saved';
}

function markField(name, isChanged, value) {
  const field = row(name);
  field?.classList.toggle('changed', isChanged);
  if (field && !isChanged) field.querySelector('.changed-outside').textContent = '';
  if (field?.classList.contains('invalid') && !same(value, field.dataset.refused)) showProblem(name, '');
}

// reason: what is wrong with the value, or "".
function showProblem(name, reason, value) {
  const field = row(name);
  if (!field) return;
  field.querySelector('.wrong').textContent = reason;
  field.classList.toggle('invalid', Boolean(reason));
  field.dataset.refused = value ?? '';
  for (const input of field.querySelectorAll('input, textarea')) {
    input.setAttribute('aria-invalid', String(Boolean(reason)));
    input.setAttribute('aria-describedby', `wrong-${name}`);
  }
}

// problems: {name: what is wrong}
export function showProblems(names, problems, ...values) {
  const reasons = parsed(problems), first = names.find(name => name in reasons);
  names.forEach((name, i) => showProblem(name, reasons[name] || '', values[i]));
  if (!first) return;
  row(first).scrollIntoView({ block: 'center', behavior: 'smooth' });
  row(first).querySelector('input:not([role=combobox]), textarea')?.focus({ preventScroll: true });
}

export function discard(names, filled, ...values) {
  const before = parsed(filled), kept = names.map((name, i) => (name in before ? before[name] : values[i]));
  mark(names, filled, ...kept);
  return kept;
}
