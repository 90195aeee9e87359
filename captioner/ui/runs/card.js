// The buttons of the job in the header, which carry `data-run` and the number of their job.
import { MODEL_FIELD } from '../gallery/plan.js';
import { showTab } from '../common.js';
import { ask } from '../dialogs.js';

const STORED = 'vcs-dismissed'; // the job whose outcome this browser does not show

const UNDO = {
  title: 'Undo this job?',
  about: 'Restores the earlier text of every caption that this job wrote, also before it was resumed. Captions that were ' +
    'changed since, or are approved, stay as they are. You can redo the job afterwards.',
  answers: [['undo', 'Undo the job', true]],
};

export function start({ element, trigger }) {
  element.addEventListener('click', event => {
    const { run, job } = event.target.closest('[data-run]')?.dataset ?? {};
    if (run === 'undo') ask('run-question', { ...UNDO, data: job });
    else if (run === 'model') showTab('Settings', MODEL_FIELD);
    else if (run) trigger(run, { job });
    if (run === 'dismiss') localStorage.setItem(STORED, job);
    if (run) element.querySelector('#run-card').hidePopover();
  });
  if (localStorage.getItem(STORED)) trigger('dismiss', { job: localStorage.getItem(STORED) });
}
