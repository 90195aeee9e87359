// Part of the page itself and of the login form, before all modules: shows the theme, asks for the login, sets the
// address of the app, says which header a proxy leaves out, and lets the open page outlive a restart of the app. Gradio would reload the page and lose what is
// typed in it as soon as a request fails, so requests fail here in a way that it takes for an answer of the app.
(() => {
  const AWAY = 'The app cannot be reached. This page continues when it is back; what you typed is kept.';
  const REFUSED = 'The app cannot be reached. Try it again when it is back.';
  const UPDATED = 'The app was updated. Reload the page to continue; what you typed is kept.';
  const WRONG = 'Wrong username or password.';
  const HEADER = 'X-Page-Version', FIRST_PAUSE_MS = 1000, MAX_PAUSE_MS = 8000;
  const send = window.fetch.bind(window), logins = new BroadcastChannel('vcs-login');
  let login = null, away = null; // promises, while the form is shown and while the app is away
  let isOutdated = false; // the app is another version than this page

  const addressOf = resource => new URL(resource.url ?? resource, document.baseURI).href;
  const isOwn = resource => addressOf(resource).startsWith(new URL('gradio_api/', document.baseURI).href);
  const hasType = (answer, type) => Boolean(answer.headers.get('content-type')?.startsWith(type));
  const isFromProxy = answer => [502, 503, 504].includes(answer.status) && !hasType(answer, 'application/json');

  function make(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function showNotice(text, ...children) {
    const notice = make('p', { className: 'unreachable', role: 'alert' }, text, ...children);
    document.body.prepend(notice);
    return notice;
  }

  // ---- the theme: the one that page.js has stored, or that of the system ----
  const THEME = 'vcs-theme', systemIsDark = matchMedia('(prefers-color-scheme: dark)'), { style } = document.documentElement;

  function showTheme() {
    const chosen = localStorage.getItem(THEME), isDark = chosen ? chosen === 'dark' : systemIsDark.matches;
    if (document.body?.classList.contains('dark') === !isDark) document.body.classList.toggle('dark', isDark);
    style.colorScheme = isDark ? 'dark' : 'light';
  }

  // The background before Gradio's style sheets arrive, which it takes from the system's theme.
  function showBackground() {
    const chosen = localStorage.getItem(THEME), of = name => getComputedStyle(document.documentElement).getPropertyValue(name);
    if (chosen === 'dark') style.setProperty('--bg', of('--bg-dark'));
    else if (chosen) style.setProperty('--bg-dark', of('--bg'));
  }

  function startTheme() {
    new MutationObserver(showTheme).observe(document.body, { attributeFilter: ['class'] }); // Gradio sets the system's
    document.addEventListener(THEME, showTheme);
    addEventListener('storage', showTheme); // chosen in another tab
    systemIsDark.addEventListener('change', showTheme);
    showTheme();
  }

  // A phone's keyboard makes the page smaller instead of covering what is at its end, such as Save.
  document.querySelector('meta[name=viewport]').content += ', interactive-widget=resizes-content';

  // ---- the login ----
  // A form that calls `done` after the login. A wrong password leaves the name.
  function loginForm(title, text, done) {
    const name = make('input', { name: 'username', autocomplete: 'username', required: true });
    const password = make('input', {
      name: 'password', type: 'password', autocomplete: 'current-password', required: true,
    });
    const problem = make('p', { className: 'problem', role: 'alert' }), button = make('button', {}, 'Log in');
    const form = make('form', {}, make('h1', {}, title), make('p', {}, text),
      make('label', {}, 'Username', name), make('label', {}, 'Password', password), problem, button);
    form.addEventListener('submit', async event => {
      event.preventDefault();
      button.disabled = true;
      problem.textContent = await logIn(form);
      button.disabled = false;
      if (!problem.textContent) { logins.postMessage(''); done(); return; }
      if (problem.textContent === WRONG) password.value = '';
      password.focus();
    });
    return form;
  }

  function askForLogin() {
    const dialog = make('dialog', { className: 'login-again', ariaLabel: 'Log in again' });
    return new Promise(resolve => {
      const end = () => { dialog.remove(); resolve(); };
      dialog.append(loginForm('Log in again', 'The login has ended, as after a restart of the app.', end));
      document.body.append(dialog);
      dialog.showModal();
      dialog.addEventListener('close', () => { if (dialog.isConnected) dialog.showModal(); }); // after Escape
      logins.addEventListener('message', end, { once: true }); // in another tab
    });
  }

  // In the place of Gradio's form, which empties itself after a wrong password.
  function showLoginPage() {
    document.title = 'Video Caption Suite'; // Gradio leaves it out here
    const form = loginForm(document.title, 'Log in to continue.', () => location.reload());
    document.querySelector('gradio-app')?.remove();
    document.body.append(make('main', { className: 'login-page' }, form));
    form.querySelector('input').focus();
    logins.addEventListener('message', () => location.reload());
  }

  // Return what is wrong, or "".
  async function logIn(form) {
    const answer = await send('login', { method: 'POST', body: new URLSearchParams(new FormData(form)) })
      .catch(() => ({ status: 0 }));
    if (answer.ok) return '';
    const problems = { 400: WRONG, 429: 'Too many attempts. Wait a minute.' };
    return problems[answer.status] ?? 'The app cannot be reached.';
  }

  // ---- requests ----
  // An answer in place of the app's. To a stream of events it says that all of them have failed.
  function refuse(resource, text) {
    return new URL(addressOf(resource)).pathname.endsWith('/queue/data')
      ? new Response(failure(text), { headers: { 'Content-Type': 'text/event-stream' } })
      : Response.json({ error: text, detail: text }, { status: 500 });
  }

  const failure = text => [
    { msg: 'process_completed', success: false, output: { error: text, visible: true } }, { msg: 'close_stream' },
  ].map(message => `data: ${JSON.stringify(message)}\n\n`).join('');

  // The answer, with an end that Gradio understands if the app ends in the middle of it.
  function withEnd(answer) {
    if (!hasType(answer, 'text/event-stream')) return answer;
    const reader = answer.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
        } catch (error) {
          if (error.name === 'AbortError') return controller.error(error);
        }
        controller.enqueue(new TextEncoder().encode(failure(REFUSED)));
        controller.close();
      },
      cancel: reason => reader.cancel(reason),
    });
    return new Response(body, answer);
  }

  function sendWithVersion(resource, options) {
    const headers = new Headers(options?.headers ?? resource.headers);
    const version = document.querySelector('meta[name=page-version]')?.content;
    if (version) headers.set(HEADER, version);
    return send(resource, { ...options, headers });
  }

  async function fetchFromApp(resource, options) {
    if (!isOwn(resource)) return send(resource, options);
    if (away || isOutdated) return refuse(resource, isOutdated ? UPDATED : REFUSED);
    let answer = null;
    try {
      answer = await sendWithVersion(resource, options);
    } catch (error) {
      if (error.name === 'AbortError') throw error;
    }
    if (!answer || isFromProxy(answer)) {
      away ??= waitForApp().finally(() => { away = null; });
      return refuse(resource, REFUSED);
    }
    if (answer.status === 409 && answer.headers.has(HEADER)) {
      showUpdate();
      return refuse(resource, UPDATED);
    }
    if (answer.status !== 401) return withEnd(answer);
    login ??= askForLogin().finally(() => { login = null; });
    await login;
    return fetchFromApp(resource, options);
  }

  function showUpdate() {
    if (isOutdated) return;
    isOutdated = true;
    const button = make('button', { type: 'button' }, 'Reload');
    button.addEventListener('click', () => location.reload());
    showNotice(UPDATED, button);
  }

  // Ask until the app answers, less and less often, since browsers log each failure.
  async function waitForApp() {
    let notice = null, pause_ms = FIRST_PAUSE_MS;
    while (!await isReached()) {
      notice ??= showNotice(AWAY);
      await new Promise(resolve => {
        setTimeout(resolve, pause_ms);
        document.addEventListener('visibilitychange', resolve, { once: true });
      });
      pause_ms = Math.min(1.5 * pause_ms, MAX_PAUSE_MS);
    }
    notice?.remove();
  }

  const isReached = () => askReach().then(answer => !isFromProxy(answer), () => false);
  const askReach = () => send('gradio_api/vcs/reach', { method: 'POST' });

  async function checkReach() {
    const answer = await askReach();
    if (answer.ok) return;
    const { detail } = await answer.json();
    showNotice(detail[0].toUpperCase() + detail.slice(1));
  }

  // Gradio asks for its style sheet late, and not again if this is its very address.
  function fetchTheme({ root, theme_hash: hash }) {
    document.head.append(make('link', { rel: 'stylesheet', href: `${root}/theme.css?v=${hash}` }));
  }

  // Gradio's server takes this address from headers that a proxy may leave out or change; the browser knows it.
  if (window.gradio_config) window.gradio_config.root = new URL('.', document.baseURI).href.replace(/\/$/, '');
  if (window.gradio_config && !gradio_config.auth_required) fetchTheme(gradio_config);
  showBackground();
  addEventListener('DOMContentLoaded', () => {
    startTheme();
    if (window.gradio_config?.auth_required) showLoginPage();
    else {
      window.fetch = fetchFromApp;
      logins.postMessage(''); // other tabs need not ask for the login
    }
    checkReach().catch(() => {}); // the app cannot be reached at all
  });
})();
