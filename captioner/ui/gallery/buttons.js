// The buttons with `data-act` of the toolbar, the selection bar and the grid. Other parts of the page may act on them.
const acts = {};

// Let a part of the page act when a button with this `data-act` is clicked.
export function onButton(name, act) {
  acts[name] = act;
}

export function listenToButtons(element) {
  element.addEventListener('click', event => {
    const button = event.target.closest('[data-act]');
    acts[button?.dataset.act]?.(button);
  });
}
