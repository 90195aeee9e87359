// The page's own dialogs: a question with several answers, and a button that asks before it acts.
import { make } from './common.js';

const questions = new Map(); // name -> a function that asks

// Show the question {title, about, answers: [[id, label, dangerous], ...], data, act} in the dialog of that name.
// act(id): called with the chosen answer, in place of the event `answer`.
export const ask = (name, question) => questions.get(name)?.(question);

// Python asks through the property `asked`, which has a new `number` each time, and other modules through `ask`.
// Fires `answer` with the id of the chosen answer and the data, and nothing for Cancel, which is always offered.
export function startQuestion({ element, props, trigger, watch }) {
  const dialog = element.querySelector('[popover]'), row = element.querySelector('.answers');

  function show({ title, about, answers, data, act = id => trigger('answer', { id, data }) }) {
    element.querySelector('h4').textContent = dialog.ariaLabel = title;
    element.querySelector('.about').textContent = about;
    row.replaceChildren(...[['', 'Cancel'], ...answers].map(([id, label, dangerous]) => {
      const button = make('button', { type: 'button', className: dangerous ? 'plain yes' : 'plain' }, label);
      button.addEventListener('click', () => {
        dialog.hidePopover();
        if (id) act(id);
      });
      return button;
    }));
    dialog.showPopover();
    row.firstChild.focus();
  }

  const showAsked = () => { if (props.asked.number) show(props.asked); };
  questions.set(props.name, show);
  watch('asked', showAsked);
  showAsked();
}

// Fires `confirm` once the question is answered with yes. The property `about` names the object of the question.
export function startConfirm({ element, props, trigger }) {
  const dialog = element.querySelector('[popover]'), on = (selector, act) =>
    element.querySelector(selector).addEventListener('click', act);
  on('.ask', () => {
    element.querySelector('.about').textContent = props.about || '';
    dialog.showPopover();
    element.querySelector('.no').focus();
  });
  on('.no', () => dialog.hidePopover());
  on('.yes', () => { dialog.hidePopover(); trigger('confirm', {}); });
}
