"""The limit of open files and connections of this process."""

import contextlib
import logging
import sys

log = logging.getLogger(__name__)

WANTED = 10_000  # the most that macOS allows
RESERVED = 500  # for a job: its files, pipes to the workers, databases
LIMITLESS = 1_000_000


def raise_limit() -> None:
    """Raise the limit as far as allowed, and warn if too few handles are left for a job beside the connections."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if max_handles() < 2 * RESERVED:
        log.warning("only %d files may be open at once; raise the limit with `ulimit -n 4096`", max_handles())


def max_handles() -> int:
    """Return how many files and connections this process may have open."""
    if sys.platform == "win32":
        return LIMITLESS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return LIMITLESS if soft == resource.RLIM_INFINITY else soft
