"""Record which signing keys are revoked, in a file that must not be restored from a backup.

A backup of the key files or the database can bring back a revoked key. The record survives that: a key in it
is never published, verifies nothing and signs nothing again.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from flask_resource_server.documents.files import FollowedFile, sync_folder
from flask_resource_server.exceptions import ConfigurationError, Degraded
from flask_resource_server.tokens.keys import PublishedKey, UnusableKey
from flask_resource_server.tokens.public_keys import PublicKeys
from shared.logs import format_time

# The base64url encoding of 32 bytes, whose last character has only four significant bits.
_KID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_LINE = re.compile(rf"({_KID.pattern}) (\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


class UnusableRecord(ConfigurationError):
    """The record of revoked keys cannot be read or written; the message says what to do."""


class RevokedKeys:
    """The set of revoked key IDs, which is reloaded when the record changes and never loses a key.

    Every use raises `UnusableRecord` until the record has been read successfully once. A record that does not
    exist is empty. Safe to share between threads and across forks.
    """

    def __init__(self, path: Path) -> None:
        self._known: Mapping[str, float] = {}
        self._file = FollowedFile(path, self._read)

    def __contains__(self, kid: str) -> bool:
        return kid in self._file.value

    def refuse(self, kid: str, source: str, remedy: str) -> None:
        """Raise `UnusableKey`, with `source` and `remedy` in its message, if a key is revoked."""
        revoked_at = self._file.value.get(kid)
        if revoked_at is not None:
            raise UnusableKey(describe(kid, revoked_at, source, remedy))

    def check(self) -> None:
        """Raise `Degraded` while the current record cannot be used, `UnusableRecord` if it never could."""
        _ = self._file.value  # raises if it was never good
        if problem := self._file.problem:
            raise Degraded(problem)

    def _read(self, path: Path) -> Mapping[str, float]:
        revoked = read_record(path)
        if lost := sorted(self._known.keys() - revoked.keys()):
            raise UnusableRecord(
                f"{path} no longer names {', '.join(lost)}: put the file back as it was, or run "
                f"`flask --app wsgi_auth keys revoke {lost[0]}` again"
            )
        self._known = revoked
        return revoked


class UnrevokedKeys(PublicKeys):
    """The published keys without the revoked ones: the only keys that auth_app publishes or verifies with."""

    def __init__(self, published: PublicKeys, revoked: RevokedKeys) -> None:
        self._published = published
        self._revoked = revoked

    def read(self) -> Mapping[str, PublishedKey]:
        """Return the published keys without the revoked ones. Raises `UnusableKey`, `UnusableRecord`."""
        published = self._published.read()
        return {kid: key for kid, key in published.items() if kid not in self._revoked}

    def check(self) -> None:
        """Raise `Degraded` while the current file of published keys cannot be used."""
        self._published.check()


def describe(kid: str, revoked_at: float, source: str, remedy: str) -> str:
    """Return the error message for a revoked key."""
    return f"{source} holds the key {kid}, which was revoked at {format_time(revoked_at)}: {remedy}"


def read_record(path: Path) -> dict[str, float]:
    """Return when each key was revoked, by key ID. Raises `UnusableRecord`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnusableRecord(
            f"{path} cannot be read ({error.strerror}): make it readable for this service's user, or set "
            "REVOKED_KEYS_FILE to the record of revoked keys"
        ) from None
    return _parse(content, path)


def record_revocation(path: Path, kid: str) -> None:
    """Add a key to the record, unless it is there already, and return when the record is safely on disk.

    Safe to call from several processes at once. Raises `UnusableKey` if `kid` is not a key ID, and
    `UnusableRecord`.
    """
    if not _KID.fullmatch(kid):
        raise UnusableKey(f"{kid} is not a key ID: give the 43 characters that `keys list` shows")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        # World-readable: it holds no secret, and every replica reads it.
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            if kid not in _parse(content, path):
                _append(file, content, kid)
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise UnusableRecord(
            f"{path} cannot be written ({error.strerror}), so {kid} was not revoked: set REVOKED_KEYS_FILE "
            "to a file that this user can write"
        ) from None


def _append(file: BinaryIO, content: bytes, kid: str) -> None:
    if not content:  # a new file, whose mode the umask may have changed
        with contextlib.suppress(PermissionError):
            os.fchmod(file.fileno(), 0o644)
    last = content.rpartition(b"\n")[2]
    if _LINE.fullmatch(last.decode("ascii", "replace")):
        file.write(b"\n")
    else:  # an incomplete line: its writer was killed before it reported success
        file.truncate(file.seek(len(content) - len(last)))
    file.write(f"{kid} {format_time(time.time())}\n".encode())
    file.flush()


def _parse(content: bytes, path: Path) -> dict[str, float]:
    *lines, last = content.decode("ascii", "replace").split("\n")
    if _LINE.fullmatch(last):  # otherwise it is empty or incomplete
        lines.append(last)
    revoked: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        try:
            revoked.setdefault(*_parse_line(line))
        except ValueError:
            raise UnusableRecord(
                f"{path} is damaged in line {number}, which must be a key ID and a time: fix the line, or "
                "move the file away and run `flask --app wsgi_auth keys revoke KID` for each of its keys"
            ) from None
    return revoked


def _parse_line(line: str) -> tuple[str, float]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError
    return match[1], datetime.fromisoformat(match[2]).timestamp()
