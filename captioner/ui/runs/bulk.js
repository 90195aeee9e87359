// The dialog that edits many captions. Runs inside gr.HTML's js_on_load: (element, trigger, props, watch). Python sends
// `preview`, what an edit would do, and `done`, what came of the last act. Captions become textContent, nothing else.
const $ = selector => element.querySelector(selector);
const dialog = $('dialog'), form = $('form'), list = $('.bulk-list'), hint = $('.bulk-hint'), saying = $('.dialog-message');
const applyButton = $('[data-act=apply]'), undoButton = $('[data-act=undo]');
const TYPING_MS = 180;
const HINTS = {
  empty: ['What should change?', 'Fill in a field on the left. You see here what it would do before anything is done.'],
  same: ['Nothing would change', 'No caption of these files holds what you look for.'],
  wrong: ['No preview', 'Correct what is marked on the left.'],
  none: ['No captions here', 'These files have no caption yet. Caption them first, or select others.'],
};
let files = '', asked = 0, waiting = 0, found = null, operation = 0, undone = false, busy = false;

const captions = n => `${n.toLocaleString('en')} caption${n === 1 ? '' : 's'}`;
const pressed = name => form.elements[name].getAttribute('aria-pressed') === 'true';

function edit() {
  const { find, replace, prefix, suffix, trim_openers: trim, delete: remove } = form.elements;
  if (remove.checked) return { delete: true };
  const texts = { find: find.value, replace: replace.value, prefix: prefix.value, suffix: suffix.value };
  return { ...texts, regex: pressed('regex'), match_case: pressed('match_case'), trim_openers: trim.checked };
}

const isEmpty = ({ find, replace, prefix, suffix, trim_openers: trim, delete: remove }) =>
  !(find || replace || prefix || suffix || trim || remove);

// ---- what Python says ----
function previewed() {
  if (props.preview.number !== asked) return; // of a form as it was before
  found = props.preview;
  waiting = 0;
  render();
}

function marked([kind, text]) {
  return kind ? Object.assign(document.createElement(kind), { textContent: text }) : document.createTextNode(text);
}

function row({ name, parts, elsewhere }) {
  const item = document.createElement('li'), title = document.createElement('b'), text = document.createElement('p');
  title.textContent = title.title = elsewhere ? `${name} · changed elsewhere` : name;
  text.append(...parts.map(marked)); // kinds are 'del' and 'ins', by our own Python
  item.append(title, text);
  return item;
}

function render() {
  const empty = isEmpty(edit()), result = empty ? null : found, removing = form.elements.delete.checked;
  const why = empty ? 'empty' : result?.problem ? 'wrong' : result && !result.total_with_text ? 'none' : 'same';
  $('.bulk-problem').textContent = result?.problem ?? '';
  $('.bulk-preview').setAttribute('aria-busy', Boolean(waiting));
  $('fieldset').disabled = removing;
  if (!waiting || empty) {
    $('.bulk-counts').textContent = result?.counts ?? '';
    list.replaceChildren(...(result?.changed ?? []).map(row));
    if (result?.num_changed > result?.changed.length) {
      const more = document.createElement('li');
      more.className = 'bulk-more';
      more.textContent = `and ${(result.num_changed - result.changed.length).toLocaleString('en')} more`;
      list.append(more);
    }
  }
  hint.hidden = Boolean(result?.num_changed || (waiting && !empty));
  [$('.bulk-hint b').textContent, $('.bulk-hint p').textContent] = HINTS[why];
  const count = result?.num_changed ?? 0, verb = removing ? 'Delete' : 'Change';
  applyButton.textContent = count && !operation ? `${verb} ${captions(count)}` : `${verb} captions`;
  applyButton.classList.toggle('danger', removing);
  applyButton.disabled = !count || Boolean(waiting || operation || busy);
  undoButton.hidden = !operation;
  undoButton.disabled = busy;
  undoButton.textContent = undone ? 'Redo' : 'Undo';
}

function did() {
  const { done } = props;
  if (!done.number) return;
  busy = false;
  saying.textContent = done.text;
  saying.classList.toggle('bad', Boolean(done.bad));
  if (!done.bad) { operation = done.operation; undone = done.undone; }
  render();
  if (operation) undoButton.focus();
}

// ---- what the user does ----
function changed() {
  operation = 0;
  saying.textContent = '';
  clearTimeout(waiting);
  asked++;
  waiting = isEmpty(edit()) ? 0 : setTimeout(ask, TYPING_MS);
  if (!waiting) found = null;
  render();
}

function ask() {
  waiting = -1; // for the answer
  trigger('preview', { number: asked, files, edit: edit() });
}

function act(name, data) {
  busy = true;
  render();
  trigger(name, data);
}

const actions = {
  close: () => dialog.close(),
  apply: () => act('apply', { files, edit: edit() }),
  undo: () => act(undone ? 'redo' : 'undo', { id: operation }), // these are 'redo' and 'undo'
};

// value: as that of the grid; scope: such as "12 selected files".
function open(value, scope) {
  files = value;
  busy = false;
  $('.bulk-scope').textContent = scope;
  form.elements.delete.checked = false;
  changed();
  dialog.showModal();
  form.elements.find.focus();
  form.elements.find.select();
}

form.addEventListener('submit', event => event.preventDefault());
form.addEventListener('input', changed);
element.addEventListener('click', event => {
  const toggle = event.target.closest('[aria-pressed]'), hit = event.target.closest('[data-act]');
  if (toggle) { toggle.setAttribute('aria-pressed', toggle.getAttribute('aria-pressed') !== 'true'); changed(); }
  if (hit) actions[hit.dataset.act]();
});

watch('preview', previewed);
watch('done', did);
element.dataset.bulk = '';
element.bulk = { open };
render();
