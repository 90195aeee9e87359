// A question in the page's own dialog. {title, about, answers: [[id, label, dangerous], ...], data}: Python asks by the
// property `asked`, with a `number` of its own each time, and the browser by element.question.ask(...). Fires `answer`
// with the id of the one that was chosen and the data; nothing for Cancel, which is always offered.
const dialog = element.querySelector('[popover]'), row = element.querySelector('.answers');
let data = null;

function button(id, label, dangerous) {
  const made = document.createElement('button');
  Object.assign(made, { type: 'button', className: `plain${dangerous ? ' yes' : ''}`, textContent: label });
  made.addEventListener('click', () => {
    dialog.hidePopover();
    if (id) trigger('answer', { id, data });
  });
  return made;
}

function ask(question) {
  data = question.data;
  element.querySelector('h4').textContent = question.title;
  element.querySelector('.about').textContent = question.about;
  row.replaceChildren(button('', 'Cancel'), ...question.answers.map(answer => button(...answer)));
  dialog.showPopover();
  row.firstChild.focus();
}

watch('asked', () => { if (props.asked.number) ask(props.asked); });
element.dataset.question = '';
element.question = { ask };
