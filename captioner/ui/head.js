// Part of the page itself and of the login form, before all modules: sets the address of the app, says which header a
// proxy leaves out, and asks for the login again in the open page, as after a restart.
(() => {
  const send = window.fetch.bind(window);
  const isOwn = url => new URL(url, document.baseURI).href.startsWith(new URL('gradio_api/', document.baseURI).href);
  let login = null; // a promise while the form is shown

  function make(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function askForLogin() {
    const name = make('input', { name: 'username', autocomplete: 'username', required: true });
    const password = make('input', {
      name: 'password', type: 'password', autocomplete: 'current-password', required: true,
    });
    const problem = make('p', { className: 'problem', role: 'alert' }), button = make('button', {}, 'Login');
    const form = make('form', { method: 'dialog' }, make('h4', {}, 'Log in again'),
      make('p', {}, 'The login has ended, as after a restart of the app.'),
      make('label', {}, 'Username', name), make('label', {}, 'Password', password), problem, button);
    const dialog = make('dialog', { className: 'login-again' }, form);
    dialog.addEventListener('cancel', event => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
    return new Promise(resolve => form.addEventListener('submit', async event => {
      event.preventDefault();
      button.disabled = true;
      const answer = await send('login', { method: 'POST', body: new URLSearchParams(new FormData(form)) })
        .catch(() => ({ status: 0 }));
      button.disabled = false;
      if (answer.ok) {
        dialog.remove();
        resolve();
      } else {
        problem.textContent = { 400: 'Incorrect credentials.', 429: 'Too many attempts. Wait a minute.' }[answer.status]
          ?? 'The app cannot be reached.';
      }
    }));
  }

  async function fetchWithLogin(resource, options) {
    const answer = await send(resource, options);
    if (answer.status !== 401 || !isOwn(answer.url)) return answer;
    login ??= askForLogin().finally(() => { login = null; });
    await login;
    return fetchWithLogin(resource, options);
  }

  async function checkReach() {
    const answer = await send('gradio_api/vcs/reach', { method: 'POST' });
    if (answer.ok) return;
    const { detail } = await answer.json(), text = detail[0].toUpperCase() + detail.slice(1);
    document.body.prepend(make('p', { className: 'unreachable', role: 'alert' }, text));
  }

  // Gradio's server takes this address from headers that a proxy may leave out or change; the browser knows it.
  if (window.gradio_config) window.gradio_config.root = new URL('.', document.baseURI).href.replace(/\/$/, '');
  addEventListener('DOMContentLoaded', () => {
    if (!window.gradio_config?.auth_required) window.fetch = fetchWithLogin;
    checkReach().catch(() => {}); // the app cannot be reached at all
  });
})();
