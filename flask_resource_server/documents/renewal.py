"""Renew a fetched document in a background thread of each process, and share it with the others on disk."""

import logging
import random
import threading
import time
from dataclasses import replace
from typing import Generic

from flask_resource_server.documents.disk_copy import NO_ATTEMPT, Attempt, DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetching import TIMEOUT
from flask_resource_server.documents.files import LOOK_INTERVAL
from flask_resource_server.documents.sources import D, Source
from flask_resource_server.documents.trusted_files import printable

_FIRST_RETRY = 2  # seconds between attempts as long as none has succeeded, and nothing can be verified
_SHORTEST_PART = 0.8  # of a pause, drawn anew each time: hosts that started together would stay together
_LONGEST_PAUSE = 3600  # seconds between two fetches, whatever an issuer or a setting says

_logger = logging.getLogger(__name__)


class Renewal(Generic[D]):
    """The document in the memory of this process, and the thread that renews it."""

    def __init__(self, source: Source[D], disk: DiskCopy | NoDiskCopy, cooldown: float) -> None:
        self._source = source
        self._disk = disk
        self._cooldown = cooldown
        self._changing = threading.Lock()  # guards the next five
        self._document: D | None = None
        self._fetched_at = float("-inf")  # when the fetch started that the document came from
        self._version: tuple[int, ...] | None = None  # of the copy that was read last
        self._tried_version: tuple[int, ...] | None = None  # the same, or of one that could not be parsed
        self._retry_at = 0.0
        self._own_attempt = NO_ATTEMPT
        self._own_start = float("-inf")  # when it started, on the monotonic clock
        self._look_at = 0.0  # when to look at the copy again, on the monotonic clock
        self._waiting = threading.Lock()  # held by the one request that may wait
        self._rounds = threading.Condition()  # of the thread; guards the next four
        self._is_started = False
        self._is_busy = True  # the first round starts with the thread
        self._is_asked = False
        self._finished = 0
        self._pause_factor = 1.0  # of the current pause: from _SHORTEST_PART to 1
        self._first_deadline = float("inf")  # on the monotonic clock: nobody waits for the first round longer

    @property
    def has_looked(self) -> bool:
        """Return whether the first round has ended."""
        return self._finished > 0

    def document(self) -> D | None:
        """Return the newest document that this process knows of."""
        self._start()
        if self._document is None or time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_INTERVAL
            if self._disk.version() != self._version:
                self._read_copy()
        if self._document is not None and not self.has_looked and not self._is_young():
            self._wait_for_first_round()
        return self._document

    def look_again(self) -> bool:
        """Renew the document if that may help; see `FetchedCopy.look_again`."""
        self._start()
        newest = self.newest_attempt()  # read from disk once: strangers decide how often this is called
        self._read_copy(again=not self._is_current(newest))
        if self._is_current(newest):
            return True
        if self._document is None and not self.has_looked:
            return self._wait_for_round()
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._wait_for_round()
        finally:
            self._waiting.release()

    def newest_attempt(self) -> Attempt:
        """Return the newest attempt of any process that this one knows of."""
        recorded, own = self._disk.last_attempt(), self._own_attempt
        return recorded if recorded.is_past and recorded.started_at > own.started_at else own

    def _is_young(self) -> bool:
        """Return whether no fetch is due yet, by the time of the document and by the record of fetches."""
        now, good_at = time.time(), self.newest_attempt().good_at
        return good_at is not None and all(
            0 <= now - fetched_at < self._interval() for fetched_at in (self._fetched_at, good_at)
        )

    def _is_current(self, newest: Attempt) -> bool:
        return self._document is not None and newest.is_good and newest.age < self._cooldown

    def _seconds_since_attempt(self) -> float:
        return min(time.monotonic() - self._own_start, self._disk.last_attempt().age)

    def _start(self) -> None:
        if self._is_started:
            return
        with self._rounds:
            if self._is_started:
                return
            try:
                threading.Thread(target=self._run, name=f"renewal of {self._source.url}", daemon=True).start()
                self._first_deadline = time.monotonic() + TIMEOUT
            except RuntimeError as error:  # too many threads: the next request tries again
                problem = f"{type(error).__name__}: {error}"
                _logger.warning("cannot start a thread to fetch %s: %s", self._source.url, problem)
            else:
                self._is_started = True

    def _wait_for_first_round(self) -> None:
        """Wait until it is known whether an old copy is still in force: the issuer may have removed a key."""
        with self._rounds:
            if self._is_started:
                self._rounds.wait_for(lambda: self.has_looked, self._first_deadline - time.monotonic())

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
                if self._seconds_since_attempt() < self._cooldown:
                    newest = self.newest_attempt()
                    self._read_copy()  # another process may have fetched since the last look
                    return self._is_current(newest)
                self._is_asked = True
                self._rounds.notify_all()
                if not self._wait_for_end(deadline):
                    return False
        return self._document is not None and self.newest_attempt().is_good

    def _wait_for_end(self, deadline: float) -> bool:
        finished = self._finished
        return self._rounds.wait_for(lambda: self._finished > finished, deadline - time.monotonic())

    def _run(self) -> None:
        is_asked = False
        while True:
            pause = max(1, self._cooldown)
            try:
                self._renew(is_asked=is_asked)
                self._pause_factor = random.SystemRandom().uniform(_SHORTEST_PART, 1)
                pause = max(1, self._interval() - self._seconds_since_attempt())
            except BaseException:  # without the thread, a removed key would be accepted forever
                _logger.exception("cannot renew the copy of %s", self._source.url)
            with self._rounds:
                self._is_busy = False
                self._finished += 1
                self._rounds.notify_all()
                is_asked = self._rounds.wait_for(lambda: self._is_asked, pause)
                self._is_asked, self._is_busy = False, True

    def _interval(self) -> float:
        if self._document is None:
            return min(self._cooldown, _FIRST_RETRY)
        return min(self._source.refresh(self._document), _LONGEST_PAUSE) * self._pause_factor

    def _renew(self, *, is_asked: bool) -> None:
        """Make an attempt, unless a recent one of another process is enough."""
        with self._disk.lock(2 * TIMEOUT) as is_locked:
            self._read_copy()
            interval = self._cooldown if is_asked else self._interval()
            newest = self.newest_attempt()
            will_do = self._document is not None or not newest.is_good
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
                self._document = self._source.merge(fetched, self._document)
                self._fetched_at = attempt.started_at
        except Exception as error:
            problem = printable(f"cannot fetch {self._source.url}: {type(error).__name__}: {error}")
            if problem != attempt.problem:
                _logger.warning("%s; %s", problem, self._what_remains(attempt))
            return replace(attempt, problem=problem)
        if attempt.problem:
            _logger.warning("fetched %s again", self._source.url)
        return replace(attempt, is_good=True, problem=None, good_at=attempt.started_at)

    def _what_remains(self, attempt: Attempt) -> str:
        if self._document is None:
            return "there is no copy to continue with: requests that need it are answered with status 503"
        if attempt.good_at is None:
            return "continuing with the copy from an unknown time"
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(attempt.good_at))
        return f"continuing with the copy from {since}"

    def _share(self) -> None:
        """Write the document and the outcome of the attempt to disk, for the other processes."""
        with self._changing:
            has_news = self._own_attempt.is_good or self._disk.version() is None
            if self._document is not None and has_news:
                if not self._disk.write(self._document.content, self._fetched_at):
                    self._disk.forget_attempt()  # the other processes have to fetch for themselves
                    return
                self._version = self._tried_version = self._disk.version()
        self._disk.record(self._own_attempt)

    def _read_copy(self, *, again: bool = False) -> None:
        """Load the copy from disk if another process has changed it.

        With `again`, load it even if it has not changed: a key that verifies it may have arrived since. If
        another thread is doing this and there is a document already, return at once.
        """
        if not self._changing.acquire(timeout=TIMEOUT if self._document is None else 0):
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
            self._document = self._source.merge(self._source.parse(content), self._document)
        except Exception as error:
            if is_new:
                problem = printable(f"{type(error).__name__}: {error}")
                _logger.warning("cannot use the copy in %s: %s", self._disk.path, problem)
            return False
        self._fetched_at = fetched_at
        return True

    def _is_older(self, fetched_at: float) -> bool:
        """Return whether a copy is older than the document in memory, as where it could not be written since.

        A time in the future is that of a clock that has been set back, and says nothing.
        """
        now = time.time()
        if self._document is None or self._fetched_at > now:
            return False
        return not self._fetched_at <= fetched_at <= now
