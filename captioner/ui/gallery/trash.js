// The buttons that delete media files and bring them back, where that is allowed.
import { onButton } from './buttons.js';
import { countFiles, list } from './files.js';
import { selection } from './listing.js';
import { number, plural } from '../common.js';
import { ask } from '../dialogs.js';

let restore, numDeleted = 0; // how many files can be restored

export function start({ trigger, props }) {
  restore = document.querySelector('[data-act=restore-media]');
  document.querySelector('[data-act=delete-media]').hidden = !props.allowed;
  onButton('delete-media', () => ask('trash-question', {
    title: `Delete ${plural(list.numSelected, 'file')}?`,
    about: aboutHidden() + 'Deleted files move to the trash of this app, with their captions. You can restore them in the menu “More”.',
    answers: [['delete', 'Delete', true]],
    act: () => trigger('delete_media', { files: selection() }),
  }));
  onButton('restore-media', () => trigger('restore_media', {}));
  showTrash();
}

function aboutHidden() {
  const { selectedHidden } = countFiles();
  return selectedHidden ? `${number(selectedHidden)} of them ${selectedHidden === 1 ? 'is' : 'are'} not shown now. ` : '';
}

export function showTrash(count = numDeleted) {
  numDeleted = count;
  if (!restore) return;
  restore.hidden = !numDeleted;
  restore.textContent = `Restore ${plural(numDeleted, 'deleted file')}`;
}
