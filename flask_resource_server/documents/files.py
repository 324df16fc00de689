"""Reload files when they change, and replace files atomically."""

import contextlib
import logging
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from flask_resource_server.documents.locks import HAS_PROCESS_LOCKS
from flask_resource_server.documents.processes import PerProcess
from flask_resource_server.exceptions import ConfigurationError

T = TypeVar("T")

# Seconds between two checks for a change of a file that every request uses. The check is a system call, which
# releases the GIL, and the request then waits for its turn behind the other threads.
POLL_INTERVAL = 0.05

_logger = logging.getLogger(__name__)


class FollowedFile(Generic[T]):
    """A value read from a file when it is first needed, and reloaded whenever the file changes.

    `read` turns the path into the value. If it raises `ConfigurationError`, the last good value stays in use
    and `problem` returns the message. The file is checked for changes when it is used, at most once in
    `interval` seconds. Safe to share between threads and across forks.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], interval: float = 0) -> None:
        self._path = path
        self._read = read
        self._interval = interval
        self._check_at = float("-inf")  # when to check for a change, on the monotonic clock
        self._lock = PerProcess(threading.Lock)
        self._value: T | None = None
        self._version: tuple[int, ...] | None = None  # of the file when it was read last
        self._problem: ConfigurationError | None = None
        self._read_at = float("-inf")  # on the monotonic clock

    @property
    def value(self) -> T:
        """Return the last good value. While the file does not change, this costs at most one system call.

        Raises the `ConfigurationError` of `read` if the file has never been good.
        """
        if self._value is None or not self._interval or time.monotonic() >= self._check_at:
            self.reload_if_changed()
        if self._value is None:
            assert self._problem
            raise self._problem.with_traceback(None)
        return self._value

    @property
    def problem(self) -> str | None:
        """Return why the current file cannot be used, or None if it is good."""
        self.reload_if_changed()
        return str(self._problem) if self._problem else None

    def reload_if_changed(self) -> None:
        """Read the file now if it has changed."""
        self._check_at = time.monotonic() + self._interval
        if self._is_due(file_version(self._path)):
            with self._lock.get():  # so that an older value cannot replace a newer one
                self._read_anew(file_version(self._path))

    def _is_due(self, version: tuple[int, ...] | None) -> bool:
        """Return whether to read the file: when it has changed, and once a second while it is not good.

        The retries are for causes outside the file, such as a parent folder that cannot be entered.
        """
        if self._value is None and self._problem is None:
            return True
        is_retry = self._problem is not None and time.monotonic() >= self._read_at + 1
        return version != self._version or is_retry

    def _read_anew(self, version: tuple[int, ...] | None) -> None:
        """Read the file. `version` was taken before reading, so that the next check sees a later change."""
        if not self._is_due(version):  # another thread has just read it
            return
        is_first = self._value is None and self._problem is None
        known_problem = self._problem
        try:
            self._value, self._problem = self._read(self._path), None
        except ConfigurationError as error:
            self._problem = error
        self._version, self._read_at = version, time.monotonic()
        if self._problem:
            if self._value is not None and str(self._problem) != str(known_problem):
                _logger.warning("%s; continuing with the last good version", self._problem)
        elif not is_first:
            _logger.warning("reloaded %s, which has changed", self._path)


def file_version(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes whenever the file does, or None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    # ctime changes with the mode too, and a new mode may be all that makes the file readable. On Windows,
    # ctime is when the file was created.
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def replace_file(
    path: Path,
    content: bytes,
    mode: int,
    *,
    like: Path | None = None,
    keep_permissions: bool = True,
    modified_at: float | None = None,
) -> None:
    """Replace the content of a file atomically, even if this process is killed or the power fails.

    Owner, group and mode are copied from the file `like`, or from the file that is replaced. If neither
    exists, or without `keep_permissions`, they are this process's and `mode`. The modification time is now,
    or `modified_at` in seconds since the epoch. Callers must hold a lock, so that only one process at a time
    replaces a path. Raises `OSError`.
    """
    draft = _draft_of(path)
    draft.unlink(missing_ok=True)  # a killed process may have left one
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if keep_permissions:
                with contextlib.suppress(FileNotFoundError):
                    _copy_permissions((like or path).stat(), file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if modified_at is not None:
            os.utime(draft, (modified_at, modified_at))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _draft_of(path: Path) -> Path:
    # A fixed name lets the next writer remove a draft that a killed process left. On platforms without locks
    # two writers may run at the same time, so there each draft has a name of its own.
    unique = "" if HAS_PROCESS_LOCKS else f".{uuid.uuid4().hex}"
    return path.with_name(f".{path.name}{unique}.draft")


def _copy_permissions(model: os.stat_result, descriptor: int) -> None:
    """Copy owner, group and mode, where the platform has them. Windows does not."""
    if hasattr(os, "fchown"):
        os.fchown(descriptor, model.st_uid, model.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, stat.S_IMODE(model.st_mode))


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder survive a power failure. Does nothing on Windows."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
