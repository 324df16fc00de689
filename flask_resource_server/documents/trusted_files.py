"""Read only files that nobody but this process's user and root can have written."""

import os
import re
import stat
from pathlib import Path

# Do not follow links, and do not wait for the writer of a named pipe. Windows has neither flag.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_UNPRINTABLE = re.compile(r"[^ -~]")


class UntrustedFile(Exception):
    """A file or folder that other users may have written; the message says how to fix that."""


def check_folder(folder: Path) -> None:
    """Raise `UntrustedFile` if other users can put files into a folder. Raises `OSError`."""
    _check(folder.stat(), folder)


def read_trusted(path: Path, maximum: int) -> tuple[bytes, float]:
    """Return the content of a regular file of at most `maximum` bytes, and its modification time.

    Raises `UntrustedFile`, `OSError`.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _FLAGS)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedFile(f"{path} is not a regular file: remove it")
        _check(status, path)
        if status.st_size > maximum:
            raise UntrustedFile(f"{path} is larger than {maximum} bytes: remove it")
        return file.read(), status.st_mtime


def _check(status: os.stat_result, path: Path) -> None:
    if not hasattr(os, "geteuid"):  # Windows permissions are not POSIX ones
        return
    if status.st_uid not in {os.geteuid(), 0}:
        raise UntrustedFile(
            f"{path} belongs to user {status.st_uid}, but this process runs as user {os.geteuid()}: change "
            "its owner, or choose another folder"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedFile(f"other users can write to {path}: run `chmod go-w {path}`")


def printable(text: str) -> str:
    """Return untrusted text in printable ASCII, so that it cannot forge log lines."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
