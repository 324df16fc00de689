"""Hold a fetched document in this process's memory, and replace it with a fetched one or the copy on disk."""

import logging
import random
import threading
import time
from dataclasses import replace
from typing import Generic

from flask_resource_server.documents.disk_copy import NO_ATTEMPT, Attempt, DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetching import TIMEOUT
from flask_resource_server.documents.files import POLL_INTERVAL
from flask_resource_server.documents.sources import D, Source
from flask_resource_server.documents.trusted_files import printable

_FIRST_RETRY = 2  # seconds between attempts until one succeeds: no token can be verified before
_SHORTEST_PART = 0.8  # each pause is randomly shortened, so that hosts started together drift apart
_LONGEST_PAUSE = 3600  # seconds between two fetches, whatever an issuer or a setting says

_logger = logging.getLogger(__name__)


class MemoryCopy(Generic[D]):
    """The newest document that this process knows, and what it knows of attempts to fetch it.

    Any thread may read it. Only the renewal thread (renewal.py) calls `renew` and `draw_pause`.
    """

    def __init__(self, source: Source[D], disk: DiskCopy | NoDiskCopy, cooldown: float) -> None:
        self._source = source
        self._disk = disk
        self._cooldown = cooldown
        self._changing = threading.Lock()  # guards the next five
        self.document: D | None = None
        self._fetched_at = float("-inf")  # when the fetch that the document came from started
        self._version: tuple[int, ...] | None = None  # of the copy on disk that was last loaded
        self._tried_version: tuple[int, ...] | None = None  # the same, or that of a copy that failed to parse
        self._retry_at = 0.0
        self._own_attempt = NO_ATTEMPT
        self._own_start = float("-inf")  # when it started, on the monotonic clock
        self._check_at = 0.0  # when to check the copy on disk again, on the monotonic clock
        self._pause_factor = 1.0  # of the current pause: from _SHORTEST_PART to 1

    def poll(self) -> D | None:
        """Return the newest document, loaded from disk if another process has just fetched it."""
        if self.document is None or time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + POLL_INTERVAL
            if self._disk.version() != self._version:
                self.load_from_disk()
        return self.document

    def newest_attempt(self) -> Attempt:
        """Return the newest attempt of any process on the host; reads the record on disk."""
        recorded, own = self._disk.last_attempt(), self._own_attempt
        return recorded if recorded.is_past and recorded.started_at > own.started_at else own

    def is_current(self, newest: Attempt) -> bool:
        """Return whether there is a document and `newest`, made within the cooldown, succeeded."""
        return self.document is not None and newest.is_good and newest.age < self._cooldown

    def is_cooling_down(self) -> bool:
        """Return whether a fetch must not be requested yet, because any process has just made an attempt."""
        return self._seconds_since_attempt() < self._cooldown

    def is_young(self) -> bool:
        """Return whether no fetch is due yet, by the time of the document and by the record of fetches."""
        now, good_at = time.time(), self.newest_attempt().good_at
        return good_at is not None and all(
            0 <= now - fetched_at < self._interval() for fetched_at in (self._fetched_at, good_at)
        )

    def draw_pause(self) -> float:
        """Return the seconds until the next fetch is due, with a new random factor."""
        self._pause_factor = random.SystemRandom().uniform(_SHORTEST_PART, 1)
        return max(1, self._interval() - self._seconds_since_attempt())

    def _interval(self) -> float:
        if self.document is None:
            return min(self._cooldown, _FIRST_RETRY)
        return min(self._source.refresh(self.document), _LONGEST_PAUSE) * self._pause_factor

    def _seconds_since_attempt(self) -> float:
        return min(time.monotonic() - self._own_start, self._disk.last_attempt().age)

    def renew(self, *, is_requested: bool) -> None:
        """Fetch the document and share it on disk, unless another process has done so recently.

        "Recently" means since the last fetch was due, or within the cooldown if a request asked for this one.
        """
        with self._disk.lock(2 * TIMEOUT) as is_locked:
            self.load_from_disk()
            interval = self._cooldown if is_requested else self._interval()
            newest = self.newest_attempt()
            will_do = self.document is not None or not newest.is_good
            if will_do and self._seconds_since_attempt() < interval:
                return
            self._own_start = time.monotonic()
            self._own_attempt = replace(newest, started_at=time.time(), is_good=False)
            if is_locked:
                self._disk.record(self._own_attempt)
            self._own_attempt = self._attempt(self._own_attempt)
            if is_locked:
                self._share()

    def _attempt(self, attempt: Attempt) -> Attempt:
        """Fetch the document; return the attempt with its outcome."""
        try:
            fetched = self._source.fetch()
            with self._changing:
                self.document = self._source.merge(fetched, self.document)
                self._fetched_at = attempt.started_at
        except Exception as error:
            problem = printable(f"cannot fetch {self._source.url}: {type(error).__name__}: {error}")
            if problem != attempt.problem:
                _logger.warning("%s; %s", problem, self._describe_fallback(attempt))
            return replace(attempt, problem=problem)
        if attempt.problem:
            _logger.warning("fetched %s again", self._source.url)
        return replace(attempt, is_good=True, problem=None, good_at=attempt.started_at)

    def _describe_fallback(self, attempt: Attempt) -> str:
        if self.document is None:
            return "there is no copy to continue with: requests that need it are answered with status 503"
        if attempt.good_at is None:
            return "continuing with the copy from an unknown time"
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(attempt.good_at))
        return f"continuing with the copy from {since}"

    def _share(self) -> None:
        """Write the document and the outcome of the attempt to disk, for the other processes."""
        with self._changing:
            has_news = self._own_attempt.is_good or self._disk.version() is None
            if self.document is not None and has_news:
                if not self._disk.write(self.document.content, self._fetched_at):
                    self._disk.forget_attempt()  # the other processes have to fetch for themselves
                    return
                self._version = self._tried_version = self._disk.version()
        self._disk.record(self._own_attempt)

    def load_from_disk(self, *, again: bool = False) -> None:
        """Load the copy on disk if another process has changed it.

        With `again`, load it even if it has not changed: a key that verifies it may have arrived since. If
        another thread is already loading it and there is a document, return at once.
        """
        if not self._changing.acquire(timeout=TIMEOUT if self.document is None else 0):
            return
        try:
            version = self._disk.version()
            is_due = again or version != self._version
            is_new = version != self._tried_version
            if version is not None and is_due and (is_new or time.monotonic() >= self._retry_at):
                self._tried_version, self._retry_at = version, time.monotonic() + 1
                if self._load(*self._disk.read(), is_new=is_new):
                    self._version = version
        finally:
            self._changing.release()

    def _load(self, content: bytes | None, fetched_at: float, *, is_new: bool) -> bool:
        if content is None:
            return False
        if self._is_older(fetched_at):
            return True
        try:
            self.document = self._source.merge(self._source.parse(content), self.document)
        except Exception as error:
            if is_new:
                problem = printable(f"{type(error).__name__}: {error}")
                _logger.warning("cannot use the copy in %s: %s", self._disk.path, problem)
            return False
        self._fetched_at = fetched_at
        return True

    def _is_older(self, fetched_at: float) -> bool:
        """Return whether a copy is older than the document in memory: it may not have been writable since.

        A time in the future comes from a clock that has been set back since; it is not compared.
        """
        now = time.time()
        if self.document is None or self._fetched_at > now:
            return False
        return not self._fetched_at <= fetched_at <= now
