// Uploads of files that a person drops or chooses. Python sends `types` and `max_bytes`, what is taken, and `result`;
// see captioner/ui/server/uploads.py.
import { onButton } from '../gallery/buttons.js';
import { make, number, plural } from '../common.js';

let element, props, trigger, request = null;
let batch = null, refused = []; // batch: the files that are being sent; refused: [name, reason] of those that were not
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  $('.upload-zone small').textContent = props.limits;
  const input = $('input'), choose = () => input.click();
  $('.upload-zone button').addEventListener('click', choose);
  document.querySelector('[data-act=upload]').hidden = false;
  onButton('upload', choose);
  input.addEventListener('change', () => { upload([...input.files].map(asFound)); input.value = ''; });
  $('.upload-box button').addEventListener('click', () => {
    batch?.splice(0);
    request?.abort();
    $('.upload-box').hidden = true;
  });
  listenToDrops($('.upload-drop'));
  gradio.watch('result', showResult);
}

function listenToDrops(zone) {
  const hasFiles = event => event.dataTransfer?.types.includes('Files');
  document.addEventListener('dragenter', event => { if (hasFiles(event)) zone.hidden = false; });
  document.addEventListener('dragover', event => { if (hasFiles(event)) event.preventDefault(); });
  document.addEventListener('dragleave', event => { if (!event.relatedTarget) zone.hidden = true; });
  document.addEventListener('drop', async event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.hidden = true;
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry() ?? item.getAsFile()).filter(Boolean);
    upload((await Promise.all(entries.map(filesOf))).flat());
  });
}

// name: with the folders that were dropped with the file.
const asFound = file => ({ file, name: file.webkitRelativePath || file.name });

// The files of a dropped file or folder.
async function filesOf(entry) {
  if (entry instanceof File) return [asFound(entry)];
  const name = entry.fullPath.slice(1);
  try {
    if (entry.isFile) return [{ name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
    const reader = entry.createReader(), found = [];
    for (;;) { // it gives at most a hundred at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
      found.push(...some);
    }
  } catch {
    return [{ name, file: null }];
  }
}

function whyNot(file) {
  if (!file) return 'this browser cannot read it';
  if (!props.types.some(type => file.name.toLowerCase().endsWith(type))) return 'not a video, an image or a caption';
  return file.size > props.max_bytes ? 'too large' : '';
}

// found: [{file, name}]. What is dropped during an upload joins it.
async function upload(found) {
  const files = found.filter(({ file }) => !file?.name.startsWith('.')); // what macOS puts beside every file
  files.sort((a, b) => a.name.localeCompare(b.name)); // a folder tells its files in any order
  const isFirst = !batch;
  if (isFirst) [batch, refused] = [[], []];
  batch.push(...files.filter(({ file }) => !whyNot(file)));
  refused.push(...files.map(({ file, name }) => [name, whyNot(file)]).filter(([, reason]) => reason));
  if (!isFirst) return;
  const paths = [];
  let sent = 0;
  showRows([]);
  for (let i = 0; i < batch.length; i++) {
    const { file, name } = batch[i], total = () => batch.reduce((sum, each) => sum + each.file.size, 0);
    const share = loaded => (sent + loaded) / Math.max(1, total()); // all of them may be empty
    show(`Uploading ${number(i + 1)} of ${plural(batch.length, 'file')}`, share(0));
    const { path, reason } = await send(file, loaded => show(null, share(loaded)));
    if (path) paths.push([path, name]);
    else refused.push([name, reason]);
    sent += file.size;
  }
  batch = request = null;
  trigger('receive', { files: paths });
  show('Checking the files…', 1);
}

// {path} on the server, or {reason}.
function send(file, onProgress) {
  const form = new FormData();
  form.append('files', file);
  request = new XMLHttpRequest();
  request.open('POST', new URL('gradio_api/upload', document.baseURI));
  request.upload.addEventListener('progress', event => onProgress(event.loaded));
  return new Promise(resolve => {
    request.addEventListener('loadend', () => {
      const reasons = { 0: 'the upload was interrupted', 401: 'log in again', 413: 'no room is left for it' };
      if (request.status === 200) resolve({ path: JSON.parse(request.responseText)[0] });
      else resolve({ reason: reasons[request.status] ?? 'the server refused it' });
    });
    request.send(form);
  });
}

function show(title, share) {
  $('.upload-box').hidden = false;
  if (title) $('.upload-box b').textContent = title;
  $('progress').value = share;
  $('progress').hidden = share === null;
}

function showResult() {
  const { kept, refused: late, renamed } = props.result, all = [...refused, ...late];
  const counts = [[renamed.length, 'renamed'], [all.length, 'refused']].map(([count, what]) => (count ? `· ${number(count)} ${what}` : ''));
  show([plural(kept, 'file'), 'uploaded', ...counts].filter(Boolean).join(' '), null);
  showRows([...all, ...renamed.map(([name, as]) => [name, `its name was taken: uploaded as ${as}`, true])]);
}

// rows: [name, what happened to it, whether it was uploaded]
function showRows(rows) {
  $('.upload-box ul').replaceChildren(...rows.map(([name, text, isKept = false]) =>
    make('li', { className: isKept ? 'kept' : '' }, make('b', { title: name }, name), make('span', {}, text))));
}
