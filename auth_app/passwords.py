"""Hash passwords with argon2id, and check them in the same time whether or not the user exists."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Semaphore

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from flask import Flask, current_app
from werkzeug.security import check_password_hash

from auth_app.metrics import HASHES_IN_FLIGHT
from auth_app.settings import AuthSettings
from shared.errors import Unavailable

# What `werkzeug.security.generate_password_hash` makes, and many a Flask application holds.
_WERKZEUG = re.compile(r"(?:scrypt|pbkdf2)(?::[\w-]+)*\$[^$\s]+\$[0-9a-f]+")
_WAIT = 0.5  # seconds for which a login may wait for its turn


@dataclass(frozen=True)
class Hashing:
    """The parameters of new hashes, and how many may be computed at once."""

    hasher: PasswordHasher
    turns: Semaphore
    decoy: str  # a hash of no user's, verified where there is none so that the time tells nothing


def init_app(app: Flask, settings: AuthSettings) -> None:
    """Hash with the parameters that the settings say."""
    hasher = PasswordHasher(settings.argon2_passes, settings.argon2_memory, parallelism=1)
    turns = Semaphore(settings.password_hashes_at_once)
    app.extensions["hashing"] = Hashing(hasher, turns, decoy=hasher.hash(""))


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, with its salt and parameters in one text.

    Raises `Unavailable`.
    """
    with _turn() as hasher:
        return hasher.hash(normalise(password))


def verify_password(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is the one that was hashed; without a hash the same work is done for a no.

    Takes hashes of argon2 and of werkzeug. Raises `Unavailable`.
    """
    with _turn() as hasher:
        if password_hash and _WERKZEUG.fullmatch(password_hash):
            return _verify_werkzeug(password_hash, password)
        try:
            matches = hasher.verify(password_hash or _hashing().decoy, normalise(password))
        except (VerificationError, InvalidHashError):
            return False
        return matches and bool(password_hash)


def needs_rehash(password_hash: str) -> bool:
    """Tell whether a hash is not what `hash_password` would make today."""
    return bool(_WERKZEUG.fullmatch(password_hash)) or _hashing().hasher.check_needs_rehash(password_hash)


def parameters_of(password_hash: str) -> str:
    """Return the algorithm and costs of a hash: what stands before its salt and digest."""
    return password_hash.rsplit("$", 2)[0][:64]


def is_password_hash(text: str) -> bool:
    """Tell whether a text is a hash that `verify_password` can work with, and the database can hold."""
    try:
        return len(text) <= 255 and bool(_WERKZEUG.fullmatch(text) or extract_parameters(text))
    except InvalidHashError:
        return False


def normalise(password: str) -> str:
    """Spell a password one way: keyboards differ for the same character (NIST SP 800-63B section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _verify_werkzeug(password_hash: str, password: str) -> bool:
    try:
        return check_password_hash(password_hash, password)  # as it was typed: werkzeug normalises nothing
    except (ValueError, TypeError):
        return False


@contextmanager
def _turn() -> Iterator[PasswordHasher]:
    # Each hash takes memory of its own: a flood of logins must not take all that there is.
    hashing = _hashing()
    if not hashing.turns.acquire(timeout=_WAIT):
        raise Unavailable("Too many logins are under way. Try again in a moment.")
    try:
        with HASHES_IN_FLIGHT.track_inprogress():
            yield hashing.hasher
    finally:
        hashing.turns.release()


def _hashing() -> Hashing:
    hashing: Hashing = current_app.extensions["hashing"]
    return hashing
