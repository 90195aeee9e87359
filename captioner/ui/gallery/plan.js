// The model and the prompt that Caption uses, as two chips that change them, and a notice of unsaved settings.
import { make, plural, showTab } from '../common.js';
import { ask } from '../dialogs.js';
import { numUnsaved } from '../settings/tab.js';

const SAVE_MS = 10_000, CHECK_MS = 50;
export const MODEL_FIELD = '#input-model, #set-model input';
let element, trigger;
const shown = {}; // what each menu shows
const $ = selector => element.querySelector(selector);

export function startPlan(gradio) {
  ({ element, trigger } = gradio);
  $('.caption-unsaved').addEventListener('click', () => showTab('Settings'));
  for (const button of element.querySelectorAll('[data-go]')) {
    button.addEventListener('click', () => {
      button.closest('.menu').hidePopover();
      showTab(button.dataset.go, button.dataset.go === 'Settings' ? MODEL_FIELD : '');
    });
  }
  // The settings are changed on another tab, so this is out of sight meanwhile.
  new IntersectionObserver(showUnsaved).observe(element);
}

function showUnsaved() {
  const notice = $('.caption-unsaved');
  notice.hidden = !numUnsaved();
  notice.textContent = `${plural(numUnsaved(), 'setting')} not saved`;
}

// model and prompt: those of the property `shown`.
export function showPlan({ model, models, prompt }) {
  const modelChip = $('#model-chip'), promptChip = $('#prompt-chip');
  modelChip.dataset.state = model.state;
  modelChip.title = model.text;
  modelChip.lastChild.textContent = model.title || 'Model';
  promptChip.dataset.state = prompt.problem ? 'missing' : '';
  promptChip.title = prompt.problem || `Prompt: ${prompt.name}`;
  promptChip.lastChild.textContent = prompt.name || 'Prompt';
  showChoices('model', models, model.key, model.text);
  showChoices('prompt', prompt.names.map(name => [name, name]), prompt.name, prompt.problem);
}

function showChoices(what, choices, chosen, note) {
  const now = JSON.stringify([choices, chosen, note]);
  if (shown[what] === now) return; // it may be open
  shown[what] = now;
  const menu = $(`#${what}-menu`), rows = choices.map(([name, label]) => {
    const button = make('button', { type: 'button' }, label);
    button.dataset.name = name;
    button.setAttribute('aria-pressed', name === chosen);
    button.addEventListener('click', () => { menu.hidePopover(); trigger('choose', { what, name }); });
    return button;
  });
  menu.querySelector('.menu-note').textContent = note;
  menu.querySelector('.menu-choices').replaceChildren(...rows);
}

// Call `go` at once, or after asking what to do with the settings that are not saved.
export function withSettings(go) {
  const count = numUnsaved();
  if (!count) return go();
  const they = count === 1 ? 'It is' : 'They are';
  return ask('unsaved-question', {
    title: `${plural(count, 'setting')} not saved`,
    about: `${they} changed on the Settings tab, but not saved. A job uses the saved settings.`,
    answers: [['go', 'Use the saved ones'], ['save', 'Save and caption']],
    act: id => (id === 'go' ? go() : saveThen(go)),
  });
}

// Save the settings on their tab. If one of them is refused, the tab stays open and shows why.
async function saveThen(go) {
  showTab('Settings');
  const until = performance.now() + SAVE_MS;
  const wait = async isThere => {
    while (!isThere() && performance.now() < until) await new Promise(resolve => setTimeout(resolve, CHECK_MS));
  };
  const isRefused = () => document.querySelector('#settings .invalid');
  await wait(() => document.querySelector('#settings-bar.changed'));
  document.querySelector('#save-settings')?.click();
  await wait(() => !numUnsaved() || isRefused());
  if (numUnsaved()) return;
  showTab('Gallery');
  go();
}
