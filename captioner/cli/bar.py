"""The progress bar of the commands, on standard error if that is a terminal."""

import time

from tqdm import tqdm


class Bar(tqdm):
    """A bar whose clock is not set back with that of the machine."""

    _time = property(lambda self: time.monotonic, lambda self, clock: None)

    def show(self, what: str, done: int, total: int) -> None:
        """Show how many files are done of a step, which has a bar of its own."""
        if self.disable:
            return
        if self.desc != f"{what}: ":
            self.reset(total)
            self.set_description(what)
        self.update(done - self.n)


def new_bar(is_off: bool = False) -> Bar:
    """Return a bar of files. is_off: none is shown, as for output that a program reads."""
    return Bar(unit="file", disable=is_off or None, dynamic_ncols=True, smoothing=0.1)
