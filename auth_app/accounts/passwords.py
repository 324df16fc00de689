"""Hash passwords with argon2id, and verify them at the same cost for every failure."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Semaphore

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from flask import Flask, current_app
from werkzeug.security import check_password_hash

from auth_app.accounts.decoys import find_decoys, make_decoy
from auth_app.metrics import HASHES_IN_FLIGHT, PASSWORD_HASHES
from auth_app.settings import AuthSettings
from shared.errors import Unavailable

# What `werkzeug.security.generate_password_hash` makes, and many a Flask application holds.
_WERKZEUG = re.compile(r"(?:scrypt|pbkdf2)(?::[\w-]+)*\$[^$\s]+\$[0-9a-f]+")
_WAIT = 0.5  # seconds for which a login may wait for the semaphore

# What the libraries raise when they cannot compute a hash: no memory, a damaged hash, impossible costs.
_ERRORS = (Argon2Error, ValueError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Hashing:
    """How new hashes are made, and how many requests of this process may compute hashes at once."""

    hasher: PasswordHasher
    semaphore: Semaphore

    @property
    def parameters(self) -> str:
        """Return the algorithm and costs of new hashes, as `parameters_of` does."""
        hasher = self.hasher
        return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"


def init_app(app: Flask, settings: AuthSettings) -> None:
    """Hash with the parameters that the settings say."""
    hasher = PasswordHasher(settings.argon2_passes, settings.argon2_memory, parallelism=1)
    app.extensions["hashing"] = Hashing(hasher, Semaphore(settings.password_hashes_at_once))


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, with its salt and parameters in one text.

    Raises `Unavailable`.
    """
    hashing = _hashing()
    with _acquire_semaphore(hashing), _report_errors():
        password_hash = hashing.hasher.hash(normalise(password))
    PASSWORD_HASHES.labels(hashing.parameters).inc()
    return password_hash


def verify_password(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is the one that was hashed; `password_hash` is None where nobody can log in.

    Takes hashes of argon2 and of werkzeug. The answer False costs the same whatever the hash, or without one.
    Raises `Unavailable` when a hash could not be computed, for want of memory or because it is damaged.
    """
    hashing = _hashing()
    # An unknown user is treated like most users are, errors included.
    first = password_hash or make_decoy(hashing.parameters)
    with _acquire_semaphore(hashing):
        if _matches(first, password) and password_hash:
            return True
        for parameters, decoy in find_decoys(hashing.parameters).items():
            if parameters != parameters_of(first):
                # The password is known to be wrong, and counts as such even if a decoy cannot be computed.
                with suppress(Unavailable):
                    _matches(decoy, password)
    return False


def needs_rehash(password_hash: str) -> bool:
    """Tell whether a hash is not what `hash_password` would make today."""
    return bool(_WERKZEUG.fullmatch(password_hash)) or _hashing().hasher.check_needs_rehash(password_hash)


def parameters_of(password_hash: str) -> str:
    """Return the algorithm and costs of a hash: what stands before its salt and digest."""
    return password_hash.rsplit("$", 2)[0][:64]


def is_password_hash(text: str) -> bool:
    """Tell whether a text is a hash that `verify_password` can work with, and the database can hold."""
    try:
        is_hash = len(text) <= 255 and bool(_WERKZEUG.fullmatch(text) or extract_parameters(text))
        if is_hash:
            _compare(text, "")  # costs that cannot be had here are refused too
    except _ERRORS:
        return False
    return is_hash


def normalise(password: str) -> str:
    """Spell a password one way: keyboards differ for the same character (NIST SP 800-63B section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _matches(password_hash: str, password: str) -> bool:
    with _report_errors():
        matches = _compare(password_hash, password)
    PASSWORD_HASHES.labels(parameters_of(password_hash)).inc()
    return matches


def _compare(password_hash: str, password: str) -> bool:
    """Tell whether a password has a hash. Raises `_ERRORS`; a mismatch is none."""
    if _WERKZEUG.fullmatch(password_hash):
        return check_password_hash(password_hash, password)  # as it was typed: werkzeug normalises nothing
    try:
        return _hashing().hasher.verify(password_hash, normalise(password))
    except VerifyMismatchError:
        return False


@contextmanager
def _report_errors() -> Iterator[None]:
    """Turn what the libraries raise into `Unavailable`: nobody is to blame for it, least of all a user."""
    try:
        yield
    except _ERRORS as error:
        # A damaged hash may be a password, and is not quoted.
        reason = "the hash is damaged" if isinstance(error, InvalidHashError) else str(error)
        name = type(error).__name__
        current_app.logger.error("cannot compute a password hash: %s: %s", name, reason)  # noqa: TRY400
        raise Unavailable from None


@contextmanager
def _acquire_semaphore(hashing: Hashing) -> Iterator[None]:
    # Each hash takes memory of its own: a flood of logins must not take all that there is.
    if not hashing.semaphore.acquire(timeout=_WAIT):
        raise Unavailable("Too many logins are in progress. Try again in a moment.")
    try:
        with HASHES_IN_FLIGHT.track_inprogress():
            yield
    finally:
        hashing.semaphore.release()


def _hashing() -> Hashing:
    hashing: Hashing = current_app.extensions["hashing"]
    return hashing
