// What the page fetches from the app's own routes.

// Relative to this module, so it is right below a root path and behind a share link, too.
const ROUTES = new URL('../../', import.meta.url).href;

export const address = path => ROUTES + path;

// The answer as JSON. Throws if the app cannot be reached or refuses.
export async function fetchJson(path) {
  const answer = await fetch(address(path), { credentials: 'same-origin' });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}
