"""How long the end of a program may take here."""

import os

# The promise, for each of the test processes that share the machine now.
END_TIMEOUT_S = 5.0 * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
