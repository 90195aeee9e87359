// The fields of a caption that has some, each in a box of its own. The large box holds the whole text all the time; a
// field replaces its own part there. The same rules as captioner/captions/forms, for text that is exactly in the form.
import { make } from '../common.js';

const LABELS = {
  integrated_multimodal_description: 'What is seen and said', overall_soundscape: 'Sound', non_diegetic_music: 'Music',
  high_level_description: 'Summary', desc: 'Element', text: 'Written words', background: 'Background',
};
const H3 = /^(integrated_multimodal_description|overall_soundscape|non_diegetic_music):[ \t]*/gm;
const STRING = /"(?:[^"\\]|\\.)*"/g, NOT_PROSE = /^(#[0-9a-f]{6}|obj|text)$/i;
let box, part, toggle, shownAs = '', isWhole = false;

export function startFields(editor) {
  box = editor.querySelector('textarea');
  part = editor.querySelector('.panel-fields');
  toggle = editor.querySelector('.panel-whole');
  part.addEventListener('input', ({ target }) => replace(Number(target.dataset.field), target.value));
}

export const toggleWhole = () => { isWhole = !isWhole; showFields(); focusText(); };
export const hasFields = () => !part.hidden;

// Put the cursor at the end of the text, or of its first field.
export function focusText() {
  const place = hasFields() ? part.querySelector('textarea') : box;
  place.focus();
  place.setSelectionRange(place.value.length, place.value.length);
}

// Show the fields of the text in the large box, or that box if it has none.
export function showFields() {
  const fields = split(box.value), key = fields.map(({ name }) => name).join();
  toggle.hidden = !fields.length;
  toggle.textContent = isWhole ? 'Show fields' : 'Show as text';
  part.hidden = isWhole || !fields.length;
  box.hidden = !part.hidden;
  if (key !== shownAs) part.replaceChildren(...fields.map(({ name }, i) => row(name, i)));
  shownAs = key;
  fields.forEach(({ value }, i) => {
    const field = part.children[i].lastChild;
    if (field.value !== value) field.value = value;
  });
}

function row(name, index) {
  const field = make('textarea', { rows: 2, spellcheck: true });
  field.dataset.field = index;
  return make('label', {}, make('span', { textContent: LABELS[name] ?? name.replaceAll('_', ' ') }), field);
}

function replace(index, value) {
  const { start, end, write } = split(box.value)[index];
  box.value = box.value.slice(0, start) + write(value) + box.value.slice(end);
  box.dispatchEvent(new Event('input', { bubbles: true }));
}

// [{name, value, start, end, write}]: the fields of a text and where they are; [] if it has none.
function split(text) {
  return text.trimStart().startsWith('{') ? splitJson(text) : splitLabels(text);
}

function splitLabels(text) {
  const found = [...text.matchAll(H3)], names = new Set(found.map(([, name]) => name));
  if (found.length < 2 || names.size < found.length || text.slice(0, found[0].index).trim()) return [];
  return found.map(({ 0: label, 1: name, index }, i) => {
    const start = index + label.length, value = text.slice(start, found[i + 1]?.index).trimEnd();
    return { name, value, start, end: start + value.length, write: typed => typed.replace(/\n{2,}/g, '\n') };
  });
}

function splitJson(text) {
  try {
    const { high_level_description: summary, compositional_deconstruction: layout } = JSON.parse(text);
    if (summary === undefined && layout === undefined) return [];
  } catch { return []; }
  const fields = [];
  let key = '';
  for (const { 0: literal, index } of text.matchAll(STRING)) {
    const value = JSON.parse(literal), end = index + literal.length;
    if (/^\s*:/.test(text.slice(end))) key = value;
    else if (!NOT_PROSE.test(value)) fields.push({ name: key, value, start: index, end, write: JSON.stringify });
  }
  return fields;
}
