"""Share a fetched document, and when it was last fetched, between the processes of a host through a folder.

The folder is a convenience. Where it cannot be written, that is logged once and nothing is shared.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flask_resource_server.documents.files import file_version, replace_file

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """An attempt to fetch the document."""

    started_at: float  # seconds since the epoch
    is_good: bool = False  # it has ended, and well
    problem: str | None = None  # of it, or of the one before while it has not ended
    good_at: float | None = None  # when the last good attempt started

    @property
    def is_past(self) -> bool:
        """Tell whether it started before now; if not, a clock was set back since."""
        return self.started_at <= time.time()

    @property
    def age(self) -> float:
        """Return the seconds since it started, infinity where that cannot be known."""
        return time.time() - self.started_at if self.is_past else float("inf")


NO_ATTEMPT = Attempt(started_at=float("-inf"))


def files_of(copy: Path) -> set[Path]:
    """Return every path that a copy uses, named for the whole name of the copy."""
    names = (copy.name, f"{copy.name}.attempt", f"{copy.name}.lock")
    drafts = (f".{name}.draft" for name in names[:2])  # of `replace_file`
    folder = copy.absolute().parent.resolve()
    return {folder / name for name in (*names, *drafts)} | {copy.resolve()}


class NoDiskCopy:
    """No copy at all: each process fetches for itself, and a restart needs the issuer."""

    path = Path("none")

    def version(self) -> tuple[int, ...] | None:
        """Return None."""
        return None

    def read(self) -> bytes | None:
        """Return None."""
        return None

    def write(self, content: bytes) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def last_attempt(self) -> Attempt:
        """Return `NO_ATTEMPT`."""
        return NO_ATTEMPT

    def record(self, attempt: Attempt) -> None:
        """Do nothing."""

    def forget_attempt(self) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def lock(self, seconds: float) -> Iterator[bool]:  # noqa: ARG002
        """Yield False."""
        yield False


class DiskCopy:
    """The copy of a document in the file `path`, which the setting `setting` names.

    Methods that write do nothing but log where they cannot.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self.path = path.absolute()
        self._setting = setting
        self._attempt_file = self.path.with_name(f"{path.name}.attempt")
        self._lock_file = self.path.with_name(f"{path.name}.lock")
        self._problem: str | None = None  # logged already

    def version(self) -> tuple[int, ...] | None:
        """Return what changes whenever the copy does; None where there is none."""
        return file_version(self.path)

    def read(self) -> bytes | None:
        """Return the copy's content, None where there is none that can be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return None

    def write(self, content: bytes) -> bool:
        """Replace the copy unless it holds `content` already, and tell whether it does now."""
        if self.read() != content and not self._try(lambda: replace_file(self.path, content, 0o644)):
            return False
        if self._problem:
            self._problem = None
            _logger.warning("%s can be written again", self.path)
        return True

    def last_attempt(self) -> Attempt:
        """Return the last attempt that any process has recorded."""
        try:
            recorded = json.loads(self._attempt_file.read_bytes())
            good_at = recorded["good_at"]
            return Attempt(
                float(recorded["started_at"]),
                recorded["is_good"] is True,
                recorded["problem"] and str(recorded["problem"]),
                good_at and float(good_at),
            )
        except (OSError, ValueError, TypeError, LookupError):  # there was none, or something else wrote there
            return NO_ATTEMPT

    def record(self, attempt: Attempt) -> None:
        """Tell the other processes about an attempt."""
        content = json.dumps(asdict(attempt)).encode()
        self._try(lambda: replace_file(self._attempt_file, content, 0o644))

    def forget_attempt(self) -> None:
        """Let the other processes make their own attempts: there is no copy for them to read."""
        self._try(lambda: self._attempt_file.unlink(missing_ok=True))

    @contextlib.contextmanager
    def lock(self, seconds: float) -> Iterator[bool]:
        """Try for some seconds to be the only process in the block; yield whether it is.

        A POSIX record lock, unlike `flock`, is not inherited by a fork that might never release it.
        """
        descriptor = self._open_lock()
        try:
            yield descriptor is not None and self._try_to_lock(descriptor, seconds)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open_lock(self) -> int | None:
        opened: list[int] = []
        if not self.path.parent.exists():
            self._try(self.path.parent.mkdir)
        self._try(lambda: opened.append(os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)))
        return opened[0] if opened else None

    def _try_to_lock(self, descriptor: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # another process has it
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.05)
            except OSError as error:  # a file system without locks
                self._log(f"{self._lock_file}: {error.strerror}")
                return False
            else:
                return True

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except OSError as error:
            self._log(f"{error.filename or self.path}: {error.strerror}")
            return False
        return True

    def _log(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _logger.warning(
                "cannot write %s: each process fetches %s for itself, and a restart needs the issuer; let %s "
                "name a file in a folder that this service may write",
                problem,
                self.path.name,
                self._setting,
            )
