"""Record which signing keys were revoked, in a file that no backup restores.

The key files and the database may come back from a backup, and a revoked key with them. The record outlives
that: a key that it names is never published, never verifies and never signs again.
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

# The base64url form of 32 bytes: of the last character only four bits are used.
_KID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_LINE = re.compile(rf"({_KID.pattern}) (\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


class UnusableRecord(ConfigurationError):
    """A record of revoked keys that cannot be read or written, and what to do about it."""


class RevokedKeys:
    """The revoked keys, by key ID. It follows the record, and never forgets a key while it runs.

    Every use raises `UnusableRecord` while the record was never good: if it is damaged or cannot be read. One
    that does not exist names no key.
    """

    def __init__(self, path: Path) -> None:
        self._known: Mapping[str, float] = {}
        self._file = FollowedFile(path, self._read)

    def __contains__(self, kid: str) -> bool:
        return kid in self._file.value

    def refuse(self, kid: str, source: str, remedy: str) -> None:
        """Raise `UnusableKey` if the key that `source` holds was revoked."""
        revoked_at = self._file.value.get(kid)
        if revoked_at is not None:
            raise UnusableKey(describe(kid, revoked_at, source, remedy))

    def check(self) -> None:
        """Raise `Degraded` while the newest state of the record is not known."""
        _ = self._file.value  # raises if it never was good
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
    """The published keys without the revoked ones: all that auth_app publishes or verifies with."""

    def __init__(self, published: PublicKeys, revoked: RevokedKeys) -> None:
        self._published = published
        self._revoked = revoked

    def read(self) -> Mapping[str, PublishedKey]:
        """Return the published keys that were not revoked. Raises `UnusableKey`, `UnusableRecord`."""
        published = self._published.read()
        return {kid: key for kid, key in published.items() if kid not in self._revoked}

    def check(self) -> None:
        """Raise `Degraded` while the newest state of the published keys is not known."""
        self._published.check()


def describe(kid: str, revoked_at: float, source: str, remedy: str) -> str:
    """Return the line that refuses a revoked key."""
    return f"{source} holds the key {kid}, which was revoked at {format_time(revoked_at)}: {remedy}"


def read_record(path: Path) -> dict[str, float]:
    """Return when each key was revoked, by key ID. Raises `UnusableRecord`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnusableRecord(
            f"{path} cannot be read ({error.strerror}): let this service's user read it, or name the record "
            "of revoked keys in REVOKED_KEYS_FILE"
        ) from None
    return _parse(content, path)


def record_revocation(path: Path, kid: str) -> None:
    """Add a key to the record, unless it is in there, and return once that survives a loss of power.

    Several processes may do this at once. Raises `UnusableKey` for what is not a key ID, `UnusableRecord`.
    """
    if not _KID.fullmatch(kid):
        raise UnusableKey(f"{kid} is not a key ID: give the 43 characters that `keys list` shows")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        # Not a secret, and every replica reads it.
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            if kid not in _parse(content, path):
                _append(file, content, kid)
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise UnusableRecord(
            f"{path} cannot be written ({error.strerror}), so {kid} was not revoked: let REVOKED_KEYS_FILE "
            "name a file that this user may write to"
        ) from None


def _append(file: BinaryIO, content: bytes, kid: str) -> None:
    if not content:  # whatever the umask was
        with contextlib.suppress(PermissionError):
            os.fchmod(file.fileno(), 0o644)
    last = content.rpartition(b"\n")[2]
    if _LINE.fullmatch(last.decode("ascii", "replace")):
        file.write(b"\n")
    else:  # a line that somebody did not finish, and so never reported as recorded
        file.truncate(file.seek(len(content) - len(last)))
    file.write(f"{kid} {format_time(time.time())}\n".encode())
    file.flush()


def _parse(content: bytes, path: Path) -> dict[str, float]:
    *lines, last = content.decode("ascii", "replace").split("\n")
    if _LINE.fullmatch(last):  # else it is empty, or somebody did not finish it
        lines.append(last)
    revoked: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        try:
            revoked.setdefault(*_parse_line(line))
        except ValueError:
            raise UnusableRecord(
                f"{path} is damaged in line {number}, which must be a key ID and a time: mend the line, or "
                "move the file away and run `flask --app wsgi_auth keys revoke KID` for each of its keys"
            ) from None
    return revoked


def _parse_line(line: str) -> tuple[str, float]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError
    return match[1], datetime.fromisoformat(match[2]).timestamp()
