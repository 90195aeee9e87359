// The dialog of the history. Runs inside gr.HTML's js_on_load: (element, trigger, props, watch). Python sends `rows`
// and `said`. All texts are names of files and folders or words of errors: they become textContent and nothing else.
const dialog = element.querySelector('dialog'), list = element.querySelector('.history-list');
const none = element.querySelector('.history-none'), saying = element.querySelector('.dialog-message');
const LOOK_MS = 2000; // while it is open
const ICONS = { job: 'M5 3.2v9.6L12.6 8z', bulk: 'M11 1.8 14.2 5 5.4 13.8l-3.9.7.7-3.9z' };
const QUESTIONS = { undo: what => `Put back ${what}?`, redo: what => `Change ${what} again?` };
let asking = 0, drawn = '', looking = 0;

function make(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function button(label, act, row, main) {
  const made = make('button', main ? 'plain go' : 'plain', label);
  made.type = 'button';
  Object.assign(made.dataset, { act, id: row.id });
  return made;
}

function captions(count) {
  return `${count.toLocaleString('en')} caption${count === 1 ? '' : 's'}`;
}

function answers(row) {
  const box = make('div', 'history-acts');
  if (asking === row.id && row.act) {
    box.append(make('span', '', QUESTIONS[row.act](captions(row.changed))), button('Cancel', 'no', row));
    box.append(button(row.act === 'undo' ? 'Undo' : 'Redo', row.act, row, true));
    return box;
  }
  if (row.left) box.append(button('Resume', 'resume', row));
  if (row.act) box.append(button(row.act === 'undo' ? 'Undo' : 'Redo', 'ask', row));
  return box;
}

function draw(row) {
  const item = make('li', 'history-row'), text = make('div', 'history-text'), about = make('p', '');
  const name = make('span', '', row.name), style = { dateStyle: 'medium', timeStyle: 'short' };
  item.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[row.kind]}"/></svg>`;
  item.dataset.state = row.state;
  name.title = row.folder;
  const when = make('time', '', new Date(row.when * 1000).toLocaleString([], style));
  about.append(when, ' · ', name, ` · ${row.counts}`);
  const title = make('b', '', row.title);
  title.title = row.title;
  text.append(title, about);
  if (row.reason) text.append(Object.assign(make('p', 'history-why', row.reason), { title: row.reason }));
  item.append(text, make('em', 'history-state', row.state), answers(row));
  return item;
}

function show() {
  const { rows } = props, now = JSON.stringify([rows, asking]);
  if (now === drawn) return;
  drawn = now;
  const { id, act } = document.activeElement?.dataset ?? {}, focused = list.contains(document.activeElement);
  list.replaceChildren(...rows.map(draw));
  none.hidden = rows.length > 0;
  list.hidden = !rows.length;
  if (!focused) return;
  const same = list.querySelector(`[data-id="${id}"][data-act=${act}]`) ?? list.querySelector(`[data-id="${id}"]`);
  (same ?? dialog.querySelector('[data-act=close]')).focus();
}

function say() {
  const { text, bad } = props.said;
  if (!text) return;
  saying.textContent = text;
  saying.classList.toggle('bad', Boolean(bad));
}

function look() {
  if (dialog.open && document.visibilityState === 'visible') trigger('look', {});
}

function open() {
  asking = 0;
  saying.textContent = '';
  show();
  trigger('look', {});
  looking ||= setInterval(look, LOOK_MS);
  dialog.showModal();
}

const actions = {
  close: () => dialog.close(),
  ask(id) { asking = id; show(); list.querySelector(`[data-id="${id}"].go`)?.focus(); },
  no() { asking = 0; show(); },
  undo(id) { asking = 0; show(); trigger('undo', { id }); },
  redo(id) { asking = 0; show(); trigger('redo', { id }); },
  resume(id) { trigger('resume', { id }); },
};
element.addEventListener('click', event => {
  const hit = event.target.closest('[data-act]');
  if (hit) actions[hit.dataset.act](Number(hit.dataset.id));
  else if (event.target === dialog) dialog.close(); // on what is around it
});
dialog.addEventListener('close', () => { clearInterval(looking); looking = 0; });

watch('rows', show);
watch('said', say);
element.dataset.history = '';
element.history = { open };
show();
