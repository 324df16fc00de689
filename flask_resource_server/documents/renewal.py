"""Renew a document in a background thread, one for each process, and let requests wait for that thread."""

import logging
import threading
import time
from typing import Generic

from flask_resource_server.documents.disk_copy import Attempt, DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetching import TIMEOUT
from flask_resource_server.documents.memory_copy import MemoryCopy
from flask_resource_server.documents.sources import D, Source

_logger = logging.getLogger(__name__)


class Renewal(Generic[D]):
    """The thread that renews the document of this process, one round after the other.

    In each round it fetches the document, unless another process of the host has done so recently.
    """

    def __init__(self, source: Source[D], disk: DiskCopy | NoDiskCopy, cooldown: float) -> None:
        self._url = source.url
        self._copy = MemoryCopy(source, disk, cooldown)
        self._cooldown = cooldown
        self._waiting = threading.Lock()  # held by the one request that may wait
        self._rounds = threading.Condition()  # guards the next four
        self._is_started = False
        self._is_busy = True  # the first round starts with the thread
        self._is_requested = False
        self._finished = 0
        self._first_deadline = float("inf")  # monotonic: until when a request waits for the first round

    @property
    def has_finished_a_round(self) -> bool:
        """Return whether the first round has ended."""
        return self._finished > 0

    def document(self) -> D | None:
        """Return the newest document that this process knows of."""
        self._start()
        document = self._copy.poll()
        if document is not None and not self._finished and not self._copy.is_young():
            self._wait_for_first_round()
            return self._copy.document
        return document

    def request_renewal(self) -> bool:
        """Renew the document if that may help; see `FetchedCopy.request_renewal`."""
        self._start()
        # Read from disk only once: anyone who sends tokens decides how often this is called.
        newest = self.newest_attempt()
        self._copy.load_from_disk(again=not self._copy.is_current(newest))
        if self._copy.is_current(newest):
            return True
        if self._copy.document is None and not self.has_finished_a_round:
            return self._wait_for_round()
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._wait_for_round()
        finally:
            self._waiting.release()

    def newest_attempt(self) -> Attempt:
        """Return the newest attempt of any process on the host; reads the record on disk."""
        return self._copy.newest_attempt()

    def _start(self) -> None:
        if self._is_started:
            return
        with self._rounds:
            if self._is_started:
                return
            try:
                threading.Thread(target=self._run, name=f"renewal of {self._url}", daemon=True).start()
                self._first_deadline = time.monotonic() + TIMEOUT
            except RuntimeError as error:  # too many threads: the next request tries again
                problem = f"{type(error).__name__}: {error}"
                _logger.warning("cannot start a thread to fetch %s: %s", self._url, problem)
            else:
                self._is_started = True

    def _wait_for_first_round(self) -> None:
        """Wait until it is known whether an old copy is still valid: the issuer may have removed a key."""
        with self._rounds:
            if self._is_started:
                self._rounds.wait_for(
                    lambda: self.has_finished_a_round, self._first_deadline - time.monotonic()
                )

    def _wait_for_round(self) -> bool:
        """Wait for the end of a round; return whether the document is known to be current since."""
        before, deadline = self.newest_attempt(), time.monotonic() + TIMEOUT
        with self._rounds:
            if not self._is_started:
                return False
            was_busy = self._is_busy
            if was_busy and not self._wait_for_end(deadline):
                return False
            # A round that was under way may have found no reason to fetch, but this request has one.
            if not was_busy or self.newest_attempt() == before:
                if self._copy.is_cooling_down():
                    newest = self.newest_attempt()
                    self._copy.load_from_disk()  # another process may have fetched it in the meantime
                    return self._copy.is_current(newest)
                self._is_requested = True
                self._rounds.notify_all()
                if not self._wait_for_end(deadline):
                    return False
        return self._copy.document is not None and self.newest_attempt().is_good

    def _wait_for_end(self, deadline: float) -> bool:
        finished = self._finished
        return self._rounds.wait_for(lambda: self._finished > finished, deadline - time.monotonic())

    def _run(self) -> None:
        is_requested = False
        while True:
            pause = max(1, self._cooldown)
            try:
                self._copy.renew(is_requested=is_requested)
                pause = self._copy.draw_pause()
            except BaseException:  # the thread must survive: without it, a removed key is accepted forever
                _logger.exception("cannot renew the copy of %s", self._url)
            with self._rounds:
                self._is_busy = False
                self._finished += 1
                self._rounds.notify_all()
                is_requested = self._rounds.wait_for(lambda: self._is_requested, pause)
                self._is_requested, self._is_busy = False, True
