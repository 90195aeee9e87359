// The ranking of a comparison: a bar with its interval for each contender, its cost, and a button to use it.
import { make } from '../common.js';

const percent = part => `${Math.round(100 * part)} %`;

export function showResult(list, rows) {
  list.replaceChildren(...rows.map(draw));
}

function draw(row) {
  const title = make('div', { className: 'compare-who' }, make('b', {}, row.name), make('p', {}, row.settings));
  const prompt = make('details', {}, make('summary', {}, 'Prompt'), make('p', {}, row.prompt));
  title.append(prompt);
  if (row.problem) title.append(make('p', { className: 'compare-why' }, row.problem));
  const use = make('button', { type: 'button', className: 'plain', ariaLabel: `Use ${row.name}` }, 'Use this');
  Object.assign(use.dataset, { act: 'use', index: row.index });
  return make('li', {}, title, chance(row), cost(row), use);
}

function chance({ chance: value, low, high, picked }) {
  const made = make('div', { className: 'compare-chance' });
  if (value === null) {
    made.append(make('p', {}, 'Not ranked'));
    return made;
  }
  const bar = make('i', { className: 'compare-bar' }), part = make('i'), span = make('s');
  part.style.width = `${100 * value}%`;
  Object.assign(span.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
  bar.append(part, span);
  made.append(make('p', {}, make('b', {}, percent(value)), ` preferred (${percent(low)} to ${percent(high)}) · picked ${picked}×`), bar);
  return made;
}

const cost = row => make('p', { className: 'compare-cost' }, make('span', {}, '1,000 files: '), row.cost);
