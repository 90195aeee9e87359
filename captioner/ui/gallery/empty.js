// What stands in the place of a grid that shows no files.
const TEXTS = {
  folder: ['No folder is open', 'Type the path of a folder of videos and images above, or browse for one.',
    'Browse folders'],
  media: ['No videos or images here',
    'Include the subfolders or both kinds, copy some files here and refresh, or choose another folder.',
    'Choose another folder'],
  match: ['Nothing matches', 'No file matches this search and filter.', 'Show all files'],
  broken: ['Cannot load the list of files', 'The app may have been stopped. Start it again, then try again.',
    'Try again'],
};

// why: a key of TEXTS, or "" if there are files to show.
export function showEmpty(element, why) {
  const empty = element.querySelector('.grid-empty');
  empty.hidden = !why;
  document.querySelector('#gallery').classList.toggle('first', why === 'folder');
  element.querySelector('.grid-view').classList.toggle('blank', Boolean(why));
  if (!why) return;
  empty.dataset.why = why;
  for (const [i, tag] of ['b', 'p', 'button'].entries()) empty.querySelector(tag).textContent = TEXTS[why][i];
}
