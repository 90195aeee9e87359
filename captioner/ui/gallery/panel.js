// The caption panel. Runs inside gr.HTML's js_on_load: (element, trigger, props, watch). Python sends `entry`, the file
// that was opened, `fresh`, the same as it stands now, and `answer`, what came of an action. An edit that is not saved
// lives here and in sessionStorage.
const $ = selector => element.querySelector(selector);
const root = (window.gradio_config?.root || '').replace(/\/$/, '');
const api = path => `${root}/gradio_api/vcs/${path}`;
const box = $('textarea'), stage = $('.panel-stage'), sheet = $('.panel-sheet'), conflict = $('.panel-conflict');
const MAC = /Mac|iPad|iPhone/.test(navigator.platform);
const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g;
let entry = { id: '' }, base = ''; // the opened file; the text that the edit began with
let theirs = null; // what the file holds now, when it is neither the base nor ours
const drafts = JSON.parse(sessionStorage.getItem('vcs-drafts') || '{}');

const keyOf = file => `${file.folder}\n${file.name}`;
const lines = text => text.replace(/\r\n?/g, '\n'); // as a text box holds it; `base` stays as the file has it
const dirty = () => box.value !== lines(base);
const edit = () => (entry.id && dirty() ? { ...address(entry), text: box.value, expected: base } : null);
const address = file => ({ id: file.id, folder: file.folder, name: file.name });

function keepDraft() {
  if (entry.id && dirty()) drafts[keyOf(entry)] = { text: box.value, base };
  else delete drafts[keyOf(entry)];
  sessionStorage.setItem('vcs-drafts', JSON.stringify(drafts));
}

// ---- what Python says ----
function opened() {
  const wanted = document.querySelector('#grid [data-grid]').grid.opened();
  if (keyOf(props.entry) !== keyOf(wanted) || keyOf(wanted) === keyOf(entry)) return; // quick clicks have many answers
  show(props.entry);
  if (matchMedia('(max-width: 760px)').matches) element.scrollIntoView({ behavior: 'smooth' }); // it stands below
}

// A pulse may be late and speak of the file that was open before.
function refreshed() {
  const { fresh } = props;
  if (keyOf(fresh) !== keyOf(entry)) return;
  if (fresh.id) follow(fresh);
  else lose();
}

// A text that was saved, then the file as it stands after the action: a pulse may have told of that before, when the
// text was still an edit.
function answered() {
  const { saved, fresh } = props.answer;
  if (saved) {
    const key = keyOf(saved), { sent, text } = saved;
    if (drafts[key]?.text === sent) delete drafts[key];
    if (key === keyOf(entry)) {
      if (box.value === sent) box.value = text;
      base = text;
      count();
    }
    keepDraft();
  }
  if (fresh && keyOf(fresh) === keyOf(entry)) follow(fresh);
}

function show(fresh) {
  const left = edit();
  if (left) { keepDraft(); trigger('save', left); }
  const draft = drafts[keyOf(fresh)];
  entry = fresh;
  base = draft ? draft.base : fresh.text;
  box.value = draft ? draft.text : fresh.text;
  $('.panel-empty').hidden = true;
  $('.panel-open').hidden = false;
  showMedia();
  confirmDelete(false);
  reveal($('.panel-consent'), false);
  sheet.open = false;
  $('.panel-open').scrollTop = 0;
  follow(fresh);
}

// The same file anew: an edit stays, and a text that somebody else wrote meanwhile is shown beside it.
function follow(fresh) {
  const replaced = fresh.id !== entry.id || fresh.version !== entry.version;
  entry = fresh;
  props.value = JSON.stringify(address(entry));
  if (!dirty()) base = box.value = fresh.text;
  else if ([box.value, lines(base)].includes(lines(fresh.text))) base = fresh.text;
  theirs = dirty() && fresh.text !== base ? fresh.text : null;
  if (replaced) showMedia();
  showTexts();
  count();
  keepDraft();
}

function lose() {
  if (!entry.id) return;
  if (dirty()) {
    $('.panel-problem').hidden = false;
    $('.panel-problem').textContent = 'The folder of this file was closed. Your text is kept until you open it again.';
    return;
  }
  entry = { id: '' };
  base = box.value = props.value = '';
  stage.replaceChildren();
  $('.panel-empty').hidden = false;
  $('.panel-open').hidden = true;
}

function showMedia() {
  const source = api(`media/${entry.id}`), poster = api(`thumb/${entry.id}.jpg?v=${entry.version}`);
  if (entry.kind === 'image') {
    stage.replaceChildren(Object.assign(document.createElement('img'), { src: source, alt: '', decoding: 'async' }));
    return;
  }
  const video = document.createElement('video');
  Object.assign(video, { controls: true, loop: true, playsInline: true, preload: 'metadata', poster, src: source });
  video.addEventListener('error', () => {
    const text = document.createElement('p');
    text.textContent = 'This browser cannot play the file; the model may still read it.';
    stage.replaceChildren(Object.assign(document.createElement('img'), { src: poster, alt: '' }), text);
  });
  stage.replaceChildren(video);
}

function showTexts() {
  const [name, facts] = $('.panel-title').children, problem = $('.panel-problem');
  name.textContent = name.title = entry.name;
  facts.textContent = entry.facts;
  problem.hidden = !entry.problem;
  problem.textContent = entry.problem;
  $('.panel-note').hidden = !entry.elsewhere;
  if (!entry.elsewhere) $('.panel-consent').hidden = true;
  stage.classList.toggle('running', entry.tokens !== null);
  stage.dataset.run = entry.tokens ? `Captioning: ${entry.tokens} tokens` : 'Reading frames';
  // Both are made and escaped in Python.
  for (const [part, html] of [[$('.panel-about'), entry.about], [$('.panel-history'), entry.history]]) {
    if (part.made === html) continue;
    part.innerHTML = part.made = html;
    for (const time of part.querySelectorAll('time')) {
      const style = { dateStyle: 'medium', timeStyle: 'short' };
      time.textContent = new Date(time.dataset.s * 1000).toLocaleString([], style);
    }
  }
  sheet.querySelector('summary').textContent = `What the model ${entry.saw ? 'saw' : 'sees'}`;
  if (sheet.open) showSheet();
}

function showSheet() {
  const source = api(`sheet/${entry.id}.jpg?p=${encodeURIComponent(entry.plan)}`), img = sheet.querySelector('img');
  if (img.getAttribute('src') !== source) img.src = source;
}

function count() {
  const text = box.value, cjk = text.match(CJK)?.length ?? 0;
  const words = text.replace(CJK, ' ').split(/\s+/).filter(Boolean).length + cjk;
  const plural = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
  const tokens = Math.ceil(words * 1.3), characters = plural([...text].length, 'character');
  $('.panel-count').textContent = `${plural(words, 'word')} · ${characters} · about ${plural(tokens, 'token')}`;
  $('.panel-dirty').textContent = dirty() ? 'Not saved' : '';
  $('[data-act=save]').disabled = !dirty();
  $('[data-act=undo]').disabled = !dirty() && !entry.undo;
  $('[data-act=undo]').title = dirty() ? 'Undo the changes that are not saved' : 'Put back what was there before';
  $('[data-act=delete]').disabled = !entry.text && !dirty();
  $('[data-act=history]').disabled = !entry.history;
  $('[data-act=again]').disabled = entry.tokens !== null || entry.approved;
  $('[data-act=again]').title = entry.approved ? 'An approved caption stays as it is; take the approval back first'
    : 'Caption this file anew with the current prompt; the old text stays in the history';
  const approve = $('[data-act=approve]');
  approve.disabled = !entry.approved && !box.value.trim();
  approve.setAttribute('aria-pressed', Boolean(entry.approved));
  approve.title = entry.approved ? 'Approved: no run and no bulk edit touches it. Take that back (Ctrl+Enter)'
    : 'Approve: lock it against runs and bulk edits (Ctrl+Enter)';
  if (!entry.history) showHistory(false);
  if (conflict.hidden && theirs !== null) requestAnimationFrame(() => conflict.scrollIntoView({ block: 'nearest' }));
  conflict.hidden = theirs === null;
  conflict.querySelector('p').textContent = theirs || 'Nothing: the caption was deleted.';
}

// ---- what the user does ----
function save() {
  if (edit()) trigger('save', { ...address(entry), text: box.value, expected: base });
}

// So that Ctrl+Z in the box brings back what was there.
function write(text) {
  box.focus();
  box.select();
  if (!document.execCommand('insertText', false, text)) box.value = text;
  count();
}

function undo() {
  if (dirty()) { write(lines(base)); keepDraft(); return; }
  trigger('restore', { ...address(entry), history: entry.undo });
}

async function copy() {
  try {
    await navigator.clipboard.writeText(box.value);
  } catch { // a page without HTTPS has no clipboard
    box.select();
    document.execCommand('copy');
  }
  const button = $('[data-act=copy]');
  button.classList.add('did');
  setTimeout(() => button.classList.remove('did'), 1200);
}

function showHistory(open) {
  $('.panel-history').hidden = !open;
  $('[data-act=history]').setAttribute('aria-expanded', open);
}

function confirmDelete(asking) {
  reveal($('.panel-confirm'), asking);
}

function reveal(question, asking) {
  question.hidden = !asking;
  if (!asking) return;
  question.scrollIntoView({ block: 'nearest' });
  question.querySelector('button').focus({ preventScroll: true });
}

function again(consent) {
  reveal($('.panel-consent'), false);
  trigger('again', { ...address(entry), consent, edit: edit() });
}

function approve() {
  if ($('[data-act=approve]').disabled) return;
  trigger('approve', { ...address(entry), on: !entry.approved, edit: edit() });
}

const actions = {
  save, undo, copy,
  history: () => showHistory($('.panel-history').hidden),
  approve,
  again: () => (entry.elsewhere ? reveal($('.panel-consent'), true) : again(false)),
  'again-yes': () => again(true),
  'again-no': () => reveal($('.panel-consent'), false),
  delete: () => confirmDelete(true),
  'delete-no': () => confirmDelete(false),
  'delete-yes'() {
    confirmDelete(false);
    trigger('remove', { ...address(entry), edit: edit() }); // the edit stays until the answer says that it is kept
  },
  theirs() { const text = theirs; theirs = null; base = text; write(text); keepDraft(); },
  mine() { base = theirs; theirs = null; count(); keepDraft(); box.focus(); },
};

element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  const { act, step, history } = button.dataset;
  if (act) actions[act]();
  else if (step) move(Number(step));
  else if (history) trigger('restore', { ...address(entry), history: Number(history), edit: edit() });
});
box.addEventListener('input', () => { count(); keepDraft(); });
box.addEventListener('keydown', event => {
  if (event.key === 'Escape') document.querySelector('#grid .grid-view')?.focus();
});
sheet.addEventListener('toggle', () => { if (sheet.open) showSheet(); });

const move = by => document.querySelector('#grid [data-grid]')?.grid.step(by);

document.addEventListener('keydown', event => {
  if (!element.offsetParent || !entry.id) return; // another tab
  if (document.querySelector('dialog[open], :popover-open')) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && MAC && event.target.closest('input, textarea')) return; // there it moves by a word
  if (event.key.toLowerCase() === 's' && (event.ctrlKey || event.metaKey) && !event.altKey) save();
  else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) approve();
  else if (event.altKey && by) move(by);
  else return;
  event.preventDefault();
});

watch('answer', answered);
watch('entry', opened);
watch('fresh', refreshed);
element.dataset.panel = '';
element.panel = { edit };
count();
