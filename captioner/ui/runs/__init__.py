"""Jobs on the page: the card of the current job with its buttons and lists, the history, and bulk edits."""
