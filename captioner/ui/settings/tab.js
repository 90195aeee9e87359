// The form in the browser. Each function gets `filled`, the settings as the server last told them, and the values of the
// controls in the order of FIELDS, and may return new ones. What a person has changed and not saved yet is never touched.
const row = name => document.getElementById(`field-${name}`);
const same = (a, b) => String(a ?? '') === String(b ?? '');
const parsed = text => JSON.parse(text || '{}');

// In a list that can be typed into, what is typed is no value yet.
const typing = name => row(name)?.querySelector('[role=combobox]') === document.activeElement && !!row(name);

// fresh: {now: the settings, sent: the values that were saved from here, if any}
function merge(fresh, filled, ...values) {
  const {now, sent = {}} = parsed(fresh), before = parsed(filled);
  if (!now) return [filled, ...values];
  const merged = FIELDS.map((name, i) => {
    const saved = name in sent && same(values[i], sent[name]);
    const clean = saved || !(name in before) || same(values[i], before[name]);
    if (clean && (saved || same(before[name], now[name]) || !typing(name))) return now[name];
    if (!same(before[name], now[name]) && !same(values[i], now[name])) tell(name, now[name]);
    return values[i];
  });
  mark(JSON.stringify(now), ...merged);
  return [JSON.stringify(now), ...merged];
}

function tell(name, value) {
  const line = row(name)?.querySelector('.elsewhere');
  if (line) line.textContent = `Saved in another browser meanwhile: ${value ?? 'auto'}`;
}

// Show which fields are not saved yet; forget what was wrong with a field that has changed since.
function mark(filled, ...values) {
  const before = parsed(filled);
  let count = 0;
  FIELDS.forEach((name, i) => {
    const changed = name in before && !same(values[i], before[name]);
    count += changed;
    const place = row(name);
    if (!place) return;
    place.classList.toggle('changed', changed);
    if (!changed) place.querySelector('.elsewhere').textContent = '';
    if (place.classList.contains('invalid') && !same(values[i], place.dataset.refused)) accuse(name, '');
  });
  const bar = document.getElementById('settings-bar');
  if (!bar) return;
  bar.classList.toggle('changed', count > 0);
  bar.querySelector('.state').textContent =
    count ? `${count} unsaved ${count === 1 ? 'change' : 'changes'}` : 'Everything is saved';
}

function accuse(name, reason, value) {
  const place = row(name);
  if (!place) return;
  place.querySelector('.wrong').textContent = reason;
  place.classList.toggle('invalid', !!reason);
  place.dataset.refused = value ?? '';
  for (const input of place.querySelectorAll('input, textarea')) {
    input.setAttribute('aria-invalid', String(!!reason));
    input.setAttribute('aria-describedby', `wrong-${name}`);
  }
}

// problems: {name: what is allowed}
function complain(problems, ...values) {
  const reasons = parsed(problems);
  FIELDS.forEach((name, i) => accuse(name, reasons[name] || '', values[i]));
  const first = FIELDS.find(name => name in reasons);
  if (!first) return;
  row(first).scrollIntoView({block: 'center', behavior: 'smooth'});
  row(first).querySelector('input:not([role=combobox]), textarea')?.focus({preventScroll: true});
}

function discard(filled, ...values) {
  const before = parsed(filled), kept = FIELDS.map((name, i) => (name in before ? before[name] : values[i]));
  mark(filled, ...kept);
  return kept;
}

