"""The reports of replicas that are shown: hundreds of replicas send more than anyone can see."""

import math
import time

from captioner.replicas.protocol import Load

INTERVAL_S: dict[type, float] = {Load: 0.9}  # between two reports of one replica; it sends its load twice a second
REPORTS_PER_S = 400  # of all replicas together, of each kind


class Reports:
    """The times at which reports were shown. Used by the thread that runs the job."""

    def __init__(self) -> None:
        self._shown_s: dict[tuple[str, type], float] = {}  # (replica, kind of report) -> monotonic time

    def is_due(self, replica: str, report: type, num_replicas: int) -> bool:
        """Return whether a report of a replica is shown, which not each one is if they come too often."""
        now_s, interval_s = time.monotonic(), max(INTERVAL_S.get(report, 0.0), num_replicas / REPORTS_PER_S)
        if now_s - self._shown_s.get((replica, report), -math.inf) < interval_s:
            return False
        self._shown_s[replica, report] = now_s
        return True
