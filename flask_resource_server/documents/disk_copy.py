"""Share a fetched document, and the record of the last fetch, between the processes of a host in a folder.

The folder is optional. If it is not writable, or if other users can write to it, that is logged once, and
each process fetches for itself.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flask_resource_server.documents.files import file_version, replace_file
from flask_resource_server.documents.locks import hold_lock
from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.documents.trusted_files import (
    UntrustedFile,
    check_folder,
    printable,
    read_trusted,
)

MAXIMUM_SIZE = 256 * 1024 * 1024  # bytes of a copy: a hundred status lists of two megabytes fit
_MAXIMUM_RECORD = 64 * 1024  # bytes of the record of an attempt
_LAST_TIME = 1e11  # seconds since the epoch; the platform's time functions fail somewhere above this

_logger = logging.getLogger(__name__)

_logged: PerProcess[set[str]] = PerProcess(set)  # problems with a folder, logged once for all its copies


@dataclass(frozen=True)
class Attempt:
    """An attempt to fetch the document. Times are in seconds since the epoch."""

    started_at: float
    is_good: bool = False  # it has ended, and succeeded
    problem: str | None = None  # why it failed; while it runs, why the previous one failed
    good_at: float | None = None  # when the last successful attempt started

    @property
    def is_past(self) -> bool:
        """Return whether it started before now. If it did not, the clock has been set back since."""
        return self.started_at <= time.time()

    @property
    def age(self) -> float:
        """Return the seconds since it started, or infinity if the clock has been set back since."""
        return time.time() - self.started_at if self.is_past else float("inf")


NO_ATTEMPT = Attempt(started_at=float("-inf"))


class DiskCopy:
    """The copy of a document in the file `path`. Log lines name `setting`, which chooses the folder.

    No method raises if the file cannot be read or written; the methods that write log the problem.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path = path.absolute()
        self._setting = setting
        self._attempt_file = self.path.with_name(f"{path.name}.attempt")
        self._lock_file = self.path.with_name(f"{path.name}.lock")
        self._problem: str | None = None  # the problem that was last logged

    def version(self) -> tuple[int, ...] | None:
        """Return a value that changes whenever the copy does, or None if there is no copy."""
        return file_version(self.path)

    def read(self) -> tuple[bytes | None, float]:
        """Return the content of the copy and when it was fetched; the content is None if it is unreadable."""
        try:
            return self._read(self.path, MAXIMUM_SIZE)
        except OSError:
            return None, float("-inf")

    def write(self, content: bytes, fetched_at: float) -> bool:
        """Store `content`, and when it was fetched in seconds since the epoch; return whether that worked.

        The time is stored as the file's modification time, so that an unchanged document is not rewritten.
        """
        if not self._try(lambda: self._write(content, fetched_at)):
            return False
        if self._problem:
            self._problem = None
            _logger.warning("%s is writable again", self.path)
        return True

    def _write(self, content: bytes, fetched_at: float) -> None:
        if self.read()[0] != content:
            replace_file(self.path, content, 0o644, keep_permissions=False, modified_at=fetched_at)
        else:
            os.utime(self.path, (fetched_at, fetched_at))

    def last_attempt(self) -> Attempt:
        """Return the last attempt that any process of the host has recorded."""
        try:
            recorded = json.loads(self._read(self._attempt_file, _MAXIMUM_RECORD)[0])
            good_at = recorded["good_at"]
            return Attempt(
                _read_time(recorded["started_at"]),
                recorded["is_good"] is True,
                recorded["problem"] and printable(str(recorded["problem"])),
                good_at and _read_time(good_at),
            )
        # There is no record yet, or another program wrote the file.
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            return NO_ATTEMPT

    def record(self, attempt: Attempt) -> None:
        """Record an attempt for the other processes."""
        content = json.dumps(asdict(attempt)).encode()
        self._try(lambda: replace_file(self._attempt_file, content, 0o644, keep_permissions=False))

    def forget_attempt(self) -> None:
        """Remove the record, so that other processes do not wait for a copy that was not written."""
        self._try(lambda: self._attempt_file.unlink(missing_ok=True))

    @contextlib.contextmanager
    def lock(self, seconds: float) -> Iterator[bool]:
        """Try for some seconds to be the only thread on the host in the block; yield whether it is."""
        with contextlib.ExitStack() as stack:
            yield self._take_lock(stack, seconds)

    def _read(self, path: Path, maximum: int) -> tuple[bytes, float]:
        """Return the content and modification time of a file. Raises `OSError`, also for untrusted files."""
        try:
            check_folder(path.parent)
            return read_trusted(path, maximum)
        except UntrustedFile as error:
            self._log_untrusted(error)
            raise PermissionError(str(error)) from None

    def _take_lock(self, stack: contextlib.ExitStack, seconds: float) -> bool:
        """Acquire the lock until `stack` is closed; return whether that worked. Log why it did not."""
        if not self.path.parent.exists():
            with contextlib.suppress(OSError):  # opening a file in it below reports the problem
                self.path.parent.mkdir(mode=0o700)
        try:
            check_folder(self.path.parent)
        except UntrustedFile as error:
            self._log_untrusted(error)
            return False
        except OSError as error:
            self._log(error)
            return False
        try:
            return stack.enter_context(hold_lock(self._lock_file, seconds))
        except OSError as error:
            self._log(error)
            return False

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except OSError as error:
            self._log(error)
            return False
        return True

    def _log_untrusted(self, error: UntrustedFile) -> None:
        if str(error) not in _logged.get():
            _logged.get().add(str(error))
            _logger.warning(
                "ignoring the copies in %s: %s. Until that is fixed, each process fetches for itself, and "
                "the service cannot restart while the issuer is down: %s must be a folder that only this "
                "service can write to",
                self.path.parent,
                error,
                self._setting,
            )

    def _log(self, error: OSError) -> None:
        problem = f"{error.filename or self.path}: {type(error).__name__}: {error.strerror}"
        if problem != self._problem:
            self._problem = problem
            _logger.warning(
                "cannot write %s; each process fetches %s for itself, and the service cannot restart while "
                "the issuer is down: make the folder in %s writable for this service",
                problem,
                self.path.name,
                self._setting,
            )


def _read_time(value: object) -> float:
    """Return seconds since the epoch from a JSON value. Raises what `float` raises, and `ValueError`."""
    if not 0 <= (seconds := float(value)) < _LAST_TIME:  # type: ignore[arg-type]  # any JSON value
        raise ValueError("not a time")
    return seconds


class NoDiskCopy:
    """Replaces `DiskCopy` if no folder is set: each process keeps the document in memory only.

    Each process logs once that `setting` would choose a folder.
    """

    path = Path("none")

    def __init__(self, setting: str = "COPIES") -> None:
        self._setting = setting

    def version(self) -> tuple[int, ...] | None:
        """Return None: there is no copy."""
        return None

    def read(self) -> tuple[None, float]:
        """Return None: there is no copy."""
        return None, float("-inf")

    def write(self, content: bytes, fetched_at: float) -> bool:  # noqa: ARG002
        """Return False: nothing is written."""
        return False

    def last_attempt(self) -> Attempt:
        """Return `NO_ATTEMPT`: processes do not know of each other's attempts."""
        return NO_ATTEMPT

    def record(self, attempt: Attempt) -> None:
        """Do nothing."""

    def forget_attempt(self) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def lock(self, seconds: float) -> Iterator[bool]:  # noqa: ARG002
        """Yield False: nothing is shared with other processes, so nothing needs a lock."""
        logged = _logged.get()
        if self._setting not in logged:
            logged.add(self._setting)
            _logger.info(
                "each process fetches for itself, and the service cannot restart while the issuer is down: "
                "set %s to a folder to share what is fetched between processes and across restarts",
                self._setting,
            )
        yield False
