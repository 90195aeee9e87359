"""`python -m tests.tools.chaos_app ...`: the command line as it is, with worker processes that caption without a model.

With `--page` first it is app.py instead, in the same way.

For runs in which the journal, the captions and the processes matter and the texts do not: a worker starts in a fraction
of a second and needs some milliseconds for a caption.
"""

import re
import signal
import sys
import time
from collections import Counter
from functools import partial

from captioner.replicas import process
from captioner.replicas.protocol import Finished, Load, Ready
from captioner.values import CapabilityReport, Caption

CAPACITY = 6
REFUSAL = "I'm sorry, but I cannot describe this picture."  # of "7 fails 2.png", so many times
SECONDS = 0.004  # a caption


def write_captions(connection, spec, folder, num_threads) -> None:
    """The far end of a replica: answers requests one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process._end_with_the_app()
    connection.send(Ready(CapabilityReport(spec.device, ()), CAPACITY))
    num_received, asked = 0, Counter()
    while (request := connection.recv()) is not None:
        if isinstance(request, int):
            continue  # a cancel: it is answered already, or soon
        num_received += 1
        time.sleep(SECONDS)
        asked[stem := request.path.stem] += 1
        fails = re.search(r"fails (\d+)$", stem)
        text = REFUSAL if fails and asked[stem] <= int(fails[1]) else f"what {stem} shows, at length and to the end."
        connection.send(Finished(request.id, Caption(text, spec.source, request.prompt, request.options)))
        connection.send(Load(CAPACITY, 0, 0, 0, 0.0, 0.0, num_received=num_received))


class FastReplica(process.ProcessReplica):
    main = staticmethod(write_captions)


if __name__ == "__main__":
    from captioner.cli import main as cli
    from captioner.cli import serve
    from captioner.jobs import runner as jobs
    from captioner.replicas.pool import ReplicaPool

    jobs.ReplicaPool = partial(ReplicaPool, FastReplica)
    if sys.argv[1:2] == ["--page"]:
        del sys.argv[1]
        sys.exit(serve.main())
    sys.exit(cli.main())
