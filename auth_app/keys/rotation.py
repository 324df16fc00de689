"""Generate, list, rotate and drop signing keys: each is next, then active, then retiring, then gone.

All state is in the key files. The private key's file holds the active key, and `.next.pem` beside it holds
its successor. The public key's file holds every key that verifies, each below a comment with its state and a
time. The private files determine the state, so that a step takes effect with one rename. A command that is
killed at any moment leaves working files, and continues when it is run again. revoked_keys.py records which
keys are revoked; this module only removes them from the files.
"""

import math
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from auth_app.keys.revoked_keys import describe, read_record
from auth_app.keys.signing_key import NOT_PUBLISHED, read_private_key
from auth_app.settings import AuthSettings
from flask_resource_server.documents.files import replace_file, sync_folder
from flask_resource_server.documents.locks import lock
from flask_resource_server.tokens.checks import LEEWAY
from flask_resource_server.tokens.keys import MINIMUM_BITS, UnusableKey, read_key_file

NEXT, ACTIVE, RETIRING = "next", "active", "retiring"
PROPAGATION = 3  # seconds until every replica has noticed a changed file, and fetches in progress have ended


@dataclass(frozen=True)
class Key:
    """A key in the key files, with the state that follows from the private keys' files."""

    kid: str
    state: str
    recorded_state: str | None  # in the public key's file; the previous state if a command was interrupted
    recorded_time: float | None
    public_key: rsa.RSAPublicKey
    revoked_at: float | None = None  # if the record of revoked keys names it, for example after a restore

    @property
    def time(self) -> float | None:
        """Return since when, or for a retiring key until when, it has its state. None if unknown."""
        return self.recorded_time if self.recorded_state == self.state else None


def generate_key_pair(private_file: Path, public_file: Path, revoked: Container[str] = ()) -> str:
    """Write the first key pair, as `openssl genrsa` and `openssl rsa -pubout` do, and return its `kid`.

    Overwrites nothing. If only the private key exists, its public key is written. Raises `UnusableKey` and
    `OSError`.
    """
    with lock(private_file.parent):
        if public_file.exists():
            raise UnusableKey(f"{public_file} exists and was left as it is")
        if not private_file.exists():
            _make_private_key(private_file)
        key = read_private_key(private_file)
        if key.kid in revoked:
            raise UnusableKey(f"{private_file} holds the revoked key {key.kid}: move the file away first")
        replace_file(public_file, _to_pem(key.key.public_key()), 0o644)
        return key.kid


def list_keys(settings: AuthSettings) -> list[Key]:
    """Return every published key that is not gone, and every revoked key in a private key's file.

    Raises `UnusableKey` and `UnusableRecord`.
    """
    _require_files(settings)
    revoked = read_record(settings.revoked_keys_file)
    private_keys = {ACTIVE: read_private_key(settings.jwt_private_key_file)}
    if _next_file(settings).exists():
        private_keys[NEXT] = read_private_key(_next_file(settings))
    states = {key.kid: state for state, key in reversed(private_keys.items())}
    published = read_key_file(settings.jwt_public_key_file)
    keys = [
        Key(kid, states.get(kid, RETIRING), key.state, key.time, key.key, revoked.get(kid))
        for kid, key in published.items()
        if not key.is_gone
    ]
    keys += [
        Key(key.kid, state, None, None, key.key.public_key(), revoked[key.kid])
        for state, key in private_keys.items()
        if key.kid in revoked and key.kid not in published
    ]
    if not _find(keys, ACTIVE):
        raise UnusableKey(NOT_PUBLISHED.format(settings.jwt_private_key_file))
    return keys


def rotate(settings: AuthSettings) -> str:
    """Take the next step of a rotation, and return the new state of the new key: next or active.

    The first call publishes a new key. The second makes it sign, and retires the old one, once every service
    must have fetched it. Raises `UnusableKey`, also if the second call comes too early, and `OSError`.
    """
    with lock(settings.jwt_private_key_file.parent):
        keys = list_keys(settings)
        _refuse_revoked(settings, keys)
        successor = _find(keys, NEXT)
        if successor and successor.time:
            due = successor.time + settings.jwks_max_age + PROPAGATION
            if time.time() < due:  # a service may still use a cached key set without it
                moment = _format_time(due)
                raise UnusableKey(f"not every service knows the next key yet: run this again after {moment}")
            _activate_successor(settings)
        elif not _was_cut_off(keys):
            _publish_successor(settings, keys)
            return NEXT
        _record(settings, list_keys(settings))
        return ACTIVE


def drop_revoked_keys(settings: AuthSettings) -> set[str]:
    """Remove every revoked key from the key files, and return their IDs.

    A revoked active key is replaced by the next key, or by a new one. Raises `UnusableKey`, `UnusableRecord`
    and `OSError`.
    """
    if not (settings.jwt_private_key_file.exists() or settings.jwt_public_key_file.exists()):
        return set()
    with lock(settings.jwt_private_key_file.parent):
        keys = list_keys(settings)
        revoked = [key for key in keys if key.revoked_at]
        if _find(revoked, NEXT):
            _next_file(settings).unlink()
            sync_folder(_next_file(settings).parent)
        if _find(revoked, ACTIVE):
            good = [key for key in keys if not key.revoked_at]
            if not _find(good, NEXT):
                _publish_successor(settings, good)
            _activate_successor(settings)
        if revoked or _was_cut_off(keys):
            _record(settings, (key for key in list_keys(settings) if not key.revoked_at))
        return {key.kid for key in revoked}


def _publish_successor(settings: AuthSettings, keys: list[Key]) -> None:
    if not _next_file(settings).exists():
        _make_private_key(_next_file(settings), like=settings.jwt_private_key_file)
    private_key = read_private_key(_next_file(settings))
    others = [key for key in keys if key.kid != private_key.kid]
    _record(settings, [*others, Key(private_key.kid, NEXT, None, None, private_key.key.public_key())])


def _activate_successor(settings: AuthSettings) -> None:
    _next_file(settings).replace(settings.jwt_private_key_file)
    sync_folder(settings.jwt_private_key_file.parent)


def _record(settings: AuthSettings, keys: Iterable[Key]) -> None:
    """Write the public key's file. A key without a recorded time enters its state now."""
    now = time.time()
    until = now + settings.access_token_lifetime + LEEWAY + PROPAGATION
    blocks = []
    for key in keys:
        moment = key.time
        if moment is None and (key.state != ACTIVE or key.recorded_state == NEXT):
            moment = until if key.state == RETIRING else now
        word = "until" if key.state == RETIRING else "since"
        line = f"# {key.state} {word} {_format_time(moment)}\n" if moment else ""
        blocks.append(line.encode() + _to_pem(key.public_key))
    replace_file(settings.jwt_public_key_file, b"\n".join(blocks), 0o644)


def _make_private_key(path: Path, like: Path | None = None) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=MINIMUM_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    replace_file(path, pem, 0o600, like=like)


def _next_file(settings: AuthSettings) -> Path:
    return settings.jwt_private_key_file.with_suffix(".next.pem")


def _was_cut_off(keys: Iterable[Key]) -> bool:
    """Return whether a command was killed after it activated a key and before it recorded that."""
    return any(key.state == ACTIVE and key.recorded_state == NEXT for key in keys)


def _find(keys: Iterable[Key], state: str) -> Key | None:
    return next((key for key in keys if key.state == state), None)


def _to_pem(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _format_time(moment: float) -> str:
    # Rounded up to the next second, so that no step happens too early.
    return datetime.fromtimestamp(math.ceil(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refuse_revoked(settings: AuthSettings, keys: Iterable[Key]) -> None:
    for key in keys:
        if key.revoked_at:
            remedy = f"run `flask --app wsgi_auth keys revoke {key.kid}` first"
            raise UnusableKey(describe(key.kid, key.revoked_at, str(settings.jwt_public_key_file), remedy))


def uses_variables(settings: AuthSettings) -> bool:
    """Return whether a key comes from an environment variable, which commands cannot change."""
    return bool(settings.jwt_private_key or settings.jwt_public_key)


def _require_files(settings: AuthSettings) -> None:
    if uses_variables(settings):
        raise UnusableKey(
            "JWT_PRIVATE_KEY or JWT_PUBLIC_KEY is set, and this command works on key files only: replace the "
            "keys where the variables are set"
        )
