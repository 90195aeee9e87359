// Uploads of files that a person drops or chooses. Python sends `types` and `max_bytes`, what is taken, and `result`;
// see captioner/ui/server/uploads.py.
import { onButton } from '../gallery/buttons.js';
import { make, plural } from '../common.js';

let element, props, trigger, request = null, refused = []; // refused: [name, reason], before anything was sent
const $ = selector => element.querySelector(selector);

export function start(gradio) {
  ({ element, props, trigger } = gradio);
  $('.upload-zone small').textContent = props.limits;
  const input = $('input'), choose = () => input.click();
  $('.upload-zone button').addEventListener('click', choose);
  document.querySelector('[data-act=upload]').hidden = false;
  onButton('upload', choose);
  input.addEventListener('change', () => { upload([...input.files]); input.value = ''; });
  $('.upload-box button').addEventListener('click', () => { request?.abort(); $('.upload-box').hidden = true; });
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

// The files of a dropped file or folder.
async function filesOf(entry) {
  if (entry instanceof File) return [entry];
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader(), found = [];
  for (;;) { // it gives at most a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...some);
  }
}

function whyNot({ name, size }) {
  if (!props.types.some(type => name.toLowerCase().endsWith(type))) return 'not a video, an image or a caption';
  return size > props.max_bytes ? 'too large' : '';
}

async function upload(dropped) {
  const files = dropped.filter(({ name }) => !name.startsWith('.')); // what macOS puts beside every file
  if (request || !files.length) return;
  refused = files.map(file => [file.name, whyNot(file)]).filter(([, reason]) => reason);
  const taken = files.filter(file => !whyNot(file)), paths = [];
  const total = taken.reduce((sum, { size }) => sum + size, 0);
  let sent = 0;
  $('.upload-box ul').replaceChildren();
  for (const [i, file] of taken.entries()) {
    show(`Uploading ${i + 1} of ${plural(taken.length, 'file')}`, sent / total);
    const { path, reason } = await send(file, loaded => show(null, (sent + loaded) / total));
    if (path) paths.push(path);
    else refused.push([file.name, reason]);
    sent += file.size;
  }
  request = null;
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
  const { kept, refused: late } = props.result, all = [...refused, ...late];
  show([plural(kept, 'file'), 'uploaded', all.length ? `· ${all.length} refused` : ''].join(' '), null);
  const rows = all.map(([name, reason]) => make('li', {}, make('b', { title: name }, name), make('span', {}, reason)));
  $('.upload-box ul').replaceChildren(...rows);
}
