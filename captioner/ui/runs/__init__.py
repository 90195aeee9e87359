"""The run of a job on the page: its buttons, its card, its lists, and the history."""
