"""Limit how often a problem is logged, so that requests cannot flood the log with it."""

import threading
import time
from collections.abc import Callable

from flask_resource_server.documents.processes import PerProcess

INTERVAL = 60  # seconds from one line about a problem to the next
MAXIMUM = 100  # problems to remember


class ProblemLog:
    """The problems that were logged during the last minute. Safe to share between threads and across forks.

    Anybody can send requests that cause a problem, or several in turn, such as those of two issuers. `clock`
    returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = PerProcess(threading.Lock)
        self._logged_at: dict[str, float] = {}  # by problem, the oldest first

    def is_due(self, problem: str) -> bool:
        """Return whether to log a problem now. If so, it counts as logged."""
        with self._lock.get():
            now = self._clock()
            if now - self._logged_at.get(problem, float("-inf")) < INTERVAL:
                return False
            self._logged_at.pop(problem, None)
            if len(self._logged_at) >= MAXIMUM:
                del self._logged_at[next(iter(self._logged_at))]
            self._logged_at[problem] = now
            return True
