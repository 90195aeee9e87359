// The buttons of the job's card, which carry `data-run` and the number of their job.
import { ask } from '../dialogs.js';

const UNDO = {
  title: 'Undo this job?',
  about: 'Restores the earlier text of every caption that this job wrote. Captions that were changed since, or are ' +
    'approved, stay as they are. You can redo the job afterwards.',
  answers: [['undo', 'Undo the job', true]],
};

export function start({ element, trigger }) {
  element.addEventListener('click', event => {
    const { run, job } = event.target.closest('[data-run]')?.dataset ?? {};
    if (run === 'undo') ask('run-question', { ...UNDO, data: job });
    else if (run) trigger(run, { job });
  });
}
