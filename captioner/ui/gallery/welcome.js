// What a page without an open folder says above the folder, the model, the prompt and Caption.
export function start({ element, props, trigger }) {
  const samples = element.querySelector('.welcome-samples'), button = samples.querySelector('button');
  samples.hidden = !props.samples;
  button.addEventListener('click', () => {
    button.textContent = 'Making the clips…';
    trigger('samples', {});
  });
}
