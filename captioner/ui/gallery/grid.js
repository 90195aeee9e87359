// The grid of all files. Python sends what changed as properties; see captioner/ui/gallery/grid.py.
import { open, select, startActions, step } from './actions.js';
import { startInput } from './input.js';
import { filter, load, setColumns, sort, startListing, sync } from './listing.js';
import { startToolbar } from './toolbar.js';

export { startButton } from './listing.js';

const SENT = ['scan', 'revision', 'changes', 'base', 'running', 'busy', 'existing'];

export function start(gradio) {
  const { element, watch } = gradio;
  startListing(gradio);
  startToolbar(element);
  startActions(gradio);
  startInput(element);
  fillWindow(element);
  watch(SENT, sync);
  // For benchmarks, which act on the grid as a person would but faster.
  element.dataset.grid = '';
  element.grid = { select, filter, sort, open, step, columns: setColumns };
  load();
}

// The panes reach from where they begin, whatever is above them, down to the end of the screen.
function fillWindow(element) {
  function fit() {
    const panes = element.closest('#panes');
    if (!panes?.offsetParent) return;
    panes.style.setProperty('--panes-top', `${Math.round(panes.getBoundingClientRect().top + scrollY)}px`);
  }
  const observer = new ResizeObserver(fit);
  for (const watched of [document.body, element, ...document.querySelectorAll('#run, #notices')]) {
    observer.observe(watched);
  }
  fit();
}
