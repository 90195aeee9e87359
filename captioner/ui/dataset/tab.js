// The Dataset tab. Python sends `shown`, see FolderCheck.view in captioner/ui/dataset/check.py, and answers `rows` and
// `files`.
import { list } from '../gallery/files.js';
import { open, showOnly } from '../gallery/listing.js';
import { make, number, plural, showTab } from '../common.js';
import { showRows, startRows, takeRows } from './rows.js';
import { onNews, showWork } from './work.js';

const STORED = 'vcs-dataset', SEVERITIES = ['error', 'warning', 'note'];
const NOTHING = {
  folder: ['No folder is open', 'Open a folder in the Gallery, then check here what your trainer will do with it.'],
  check: ['Check before you train', 'Choose your trainer and the model to train. Each file that would be dropped, cut, split or trained with the wrong caption is listed, with the reason and what to do.'],
  clean: ['Nothing found', ''],
};
let element, props, trigger, chosen = '', numAsked = 0, isTouched = false; // chosen: the code whose files are shown
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  const kept = JSON.parse(localStorage.getItem(STORED) || '{}');
  fill($('[name=trainer]'), props.trainers, kept.trainer);
  fill($('[name=target]'), props.targets, kept.model ?? props.target);
  isTouched = Boolean(kept.model);
  element.addEventListener('change', event => {
    if (!event.target.closest('select')) return;
    isTouched = true;
    localStorage.setItem(STORED, JSON.stringify(values()));
  });
  element.addEventListener('click', event => acts[event.target.closest('[data-act]')?.dataset.act]?.(event));
  startRows($('.dataset-rows'), (code, start) => trigger('rows', { number: result().number, code, start }), openFile);
  gradio.watch('shown', () => show(props.shown));
  gradio.watch('target', showTarget);
  gradio.watch('rows', () => takeRows(props.rows));
  gradio.watch('files', showInGallery);
  showTarget();
  show(props.shown);
}

const result = () => props.shown.result ?? { groups: [], number: 0 };
const values = () => ({ trainer: $('[name=trainer]').value, model: $('[name=target]').value });
const group = () => result().groups.find(each => each.code === chosen);

const acts = {
  check: () => trigger('check', values()),
  repair: () => trigger('repair', {}),
  undo: () => trigger('undo', {}),
  pick: event => pick(event.target.closest('[data-code]').dataset.code),
  show: () => askForFiles(''),
};

function fill(select, options, value) {
  select.replaceChildren(...options.map(([name, title]) => make('option', { value: name }, title)));
  if (options.some(([name]) => name === value)) select.value = value;
}

// Until a person chooses: what was checked last, or the target of the settings.
function showTarget() {
  if (isTouched) return;
  const { trainer, target } = props.shown.result ?? { target: props.target };
  if (trainer) $('[name=trainer]').value = trainer;
  $('[name=target]').value = target;
}

// ---- what was found ----
const show = onNews(shown => {
  const { busy, repaired, can_undo: canUndo, folder } = shown, { groups } = result();
  showTarget();
  $('[data-act=check]').disabled = Boolean(busy) || !folder;
  showWork(element, shown, summary(shown.result, repaired));
  const repairs = groups.reduce((sum, each) => sum + each.repairs, 0);
  $('[data-act=repair]').textContent = `Fix ${plural(repairs, 'caption')}`;
  $('[data-act=repair]').title = 'Repair what is safe: marks, encodings, line breaks, empty files, extensions';
  $('[data-act=repair]').hidden = !repairs || Boolean(busy);
  $('[data-act=undo]').hidden = !canUndo || Boolean(busy);
  $('.dataset-panes').hidden = !groups.length;
  showNothing(folder, shown.result);
  $('.dataset-groups').replaceChildren(...groups.map(row));
  if (!group()) chosen = groups[0]?.code ?? '';
  pick(chosen);
});

function summary(found, repaired) {
  if (!found) return repaired;
  const count = severity => found.groups.filter(each => each.severity === severity).reduce((sum, each) => sum + each.count, 0);
  const parts = SEVERITIES.map(severity => [count(severity), severity]).filter(([sum]) => sum);
  const what = parts.map(([sum, severity]) => plural(sum, severity)).join(', ') || 'Nothing found';
  return `${repaired ? `${repaired}. ` : ''}${what} in ${plural(found.media, 'file')} for ${found.for}`;
}

function showNothing(folder, found) {
  const [title, text] = NOTHING[!folder ? 'folder' : found ? 'clean' : 'check'];
  $('.dataset-none').hidden = Boolean(found?.groups.length);
  $('.dataset-none b').textContent = title;
  $('.dataset-none p').textContent = found ? `${found.for} will train every file as it is.` : text;
}

function row({ code, severity, title, count }) {
  const button = make('button', { type: 'button' }, make('em', {}, severity), make('span', {}, title), make('i', {}, number(count)));
  Object.assign(button.dataset, { act: 'pick', code, severity });
  return make('li', {}, button);
}

// Show the files of a group.
function pick(code) {
  chosen = code;
  for (const button of element.querySelectorAll('[data-code]')) button.setAttribute('aria-pressed', button.dataset.code === code);
  const found = group();
  if (!found) return;
  $('.dataset-detail').dataset.severity = found.severity;
  $('.dataset-detail h3').textContent = found.title;
  $('.dataset-detail code').textContent = found.code;
  $('.dataset-does').textContent = found.does;
  $('.dataset-fix span').textContent = found.fix;
  $('.dataset-source span').textContent = found.source;
  showRows(`${result().number} ${code}`, code, found.count);
}

// ---- the files in the gallery ----
const openFile = name => askForFiles(name);

function askForFiles(name) {
  const { number } = result(), { title } = group();
  trigger('files', { number, code: chosen, label: title, open: name, key: ++numAsked });
}

function showInGallery() {
  const { scan, ids, label, open: name, key } = props.files;
  if (key !== numAsked || scan !== list.scan || !ids) return;
  showTab('Gallery');
  showOnly(label, ids);
  open(list.names.indexOf(name));
}
