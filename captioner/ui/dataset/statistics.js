// The statistics in the Dataset tab. Python sends `shown`, see FolderStatistics.view in captioner/ui/dataset/statistics.py,
// and answers `tables` and `files`.
import { list } from '../gallery/files.js';
import { showOnly } from '../gallery/listing.js';
import { dateTime, make, number, plural, showTab, showText, update } from '../common.js';
import { openWith } from '../runs/bulk.js';
import { onNews, showWork } from './work.js';

const NOTHING = {
  folder: ['No folder is open', 'Open a folder in the Gallery, then count here what its captions say.'],
  count: ['What do the captions say?', 'Count the words and phrases of all captions. Terms that will fuse with your trigger word, captions that contradict each other, and those that say nothing about the camera or motion come first.'],
  none: ['No captions', 'None of these files has a caption yet.'],
};
let element, props, trigger, tables = [], asked = 0, chosen = '', numAsked = 0; // asked: the count whose tables are shown
const $ = selector => element.querySelector(selector), against = () => $('[name=against]'), other = () => $('[name=folder]');

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  element.addEventListener('click', event => acts[event.target.closest('[data-act]')?.dataset.act]?.(event.target));
  gradio.watch('shown', () => show(props.shown));
  gradio.watch('tables', takeTables);
  gradio.watch('jobs', listJobs);
  against().addEventListener('change', () => { other().hidden = against().value !== 'folder'; if (!other().hidden) other().focus(); });
  other().addEventListener('keydown', event => { if (event.key === 'Enter') acts.count(); });
  gradio.watch('files', showInGallery);
  show(props.shown);
  listJobs();
}

const acts = {
  count: () => trigger('count', { job: Number(against().value) || 0, folder: other().hidden ? '' : other().value }),
  pick: target => pick(target.closest('[data-table]').dataset.table),
  show: target => askForFiles(target, false),
  edit: target => askForFiles(target, true),
};

const show = onNews(shown => {
  const { busy, folder, result } = shown;
  $('[data-act=count]').disabled = Boolean(busy) || !folder;
  $('[data-act=count]').textContent = result ? 'Count again' : 'Count words';
  showWork(element, shown, result ? `Counted ${dateTime(result.ended_s)}` : '');
  const hasTables = Boolean(result?.captions);
  for (const part of ['.statistics-facts', '.dataset-panes']) $(part).hidden = !hasTables;
  $('.dataset-none').hidden = hasTables;
  [$('.dataset-none b').textContent, $('.dataset-none p').textContent] = NOTHING[!folder ? 'folder' : result ? 'none' : 'count'];
  showFacts(result?.facts ?? []);
  if ((result?.number ?? 0) === asked) return;
  asked = result?.number ?? 0;
  trigger('tables', { number: asked });
  trigger('charts', { number: asked });
});

function listJobs() {
  const jobs = props.jobs?.rows;
  if (!jobs) return; // other properties were sent
  const [nothing, ...rest] = against().options, chosen = against().value;
  const options = jobs.map(([id, title, when]) => new Option(`Job ${id}, ${dateTime(when)}: ${title}`, id));
  against().replaceChildren(nothing, ...options, rest.at(-1));
  if ([...against().options].some(option => option.value === chosen)) against().value = chosen;
}

function showFacts(facts) {
  $('.statistics-facts').replaceChildren(...facts.map(([label, text]) => make('div', {}, make('dt', {}, label), make('dd', {}, text))));
}

function takeTables() {
  if (props.tables.number !== asked) return;
  tables = props.tables.tables.filter(each => each.rows.length);
  $('.dataset-groups').replaceChildren(...tables.map(tableButton));
  pick(tables.some(each => each.name === chosen) ? chosen : tables[0]?.name);
}

function tableButton({ name, title, rows }) {
  const button = make('button', { type: 'button' }, make('span', {}, title), make('i', {}, number(rows.length)));
  Object.assign(button.dataset, { act: 'pick', table: name });
  return make('li', {}, button);
}

function pick(name) {
  chosen = name;
  const table = tables.find(each => each.name === name);
  if (!table) return;
  for (const button of element.querySelectorAll('[data-table]')) update(button, { ariaPressed: String(button.dataset.table === name) });
  $('.dataset-detail h3').textContent = table.title;
  showText($('.statistics-note'), table.note);
  $('.statistics-rows').replaceChildren(...table.rows.map(line));
  $('.statistics-rows').scrollTop = 0;
}

function line([text, captions, share, detail, canEdit], place) {
  const bar = make('u', {}), percent = captions && share < 0.005 ? '<1 %' : `${Math.round(100 * share)} %`;
  bar.style.width = `${100 * share}%`;
  const label = make('span', {}, make('b', {}, text), make('small', {}, detail));
  const button = make('button', { type: 'button', disabled: !captions, title: `Show ${plural(captions, 'file')} in the gallery` },
    label, make('i', {}, percent, bar), make('i', {}, number(captions)));
  button.dataset.act = 'show';
  const item = make('li', {}, button);
  item.dataset.row = place;
  if (canEdit) {
    const edit = make('button', { type: 'button', className: 'plain', title: 'Show the files and replace this in their captions' }, 'Edit…');
    edit.dataset.act = 'edit';
    item.append(edit);
  }
  return item;
}

// ---- the files in the gallery ----
function askForFiles(target, edits) {
  const row = Number(target.closest('[data-row]').dataset.row), [text] = tables.find(each => each.name === chosen).rows[row];
  trigger('files', { number: asked, table: chosen, row, label: text, edits, key: ++numAsked });
}

function showInGallery() {
  const { scan, ids, label, find, edits, key } = props.files;
  if (key !== numAsked || scan !== list.scan || !ids) return;
  showTab('Gallery');
  showOnly(label, ids);
  if (edits) openWith(find);
}
