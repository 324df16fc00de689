"""Hash passwords with argon2id, and verify them so that every failure takes the same time."""

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

# The format of `werkzeug.security.generate_password_hash`, which many Flask applications store.
_WERKZEUG = re.compile(r"(?:scrypt|pbkdf2)(?::[\w-]+)*\$[^$\s]+\$[0-9a-f]+")
_WAIT = 0.5  # seconds that a login may wait for the semaphore

# What the libraries raise when they cannot compute a hash: not enough memory, a damaged hash, invalid costs.
_ERRORS = (Argon2Error, ValueError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Hashing:
    """The hasher for new passwords, and the semaphore that limits concurrent hashing in this process."""

    hasher: PasswordHasher
    semaphore: Semaphore

    @property
    def parameters(self) -> str:
        """Return the algorithm and costs of new hashes, as `parameters_of` does."""
        hasher = self.hasher
        return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"


def init_app(app: Flask, settings: AuthSettings) -> None:
    """Use the ARGON2_* parameters and the PASSWORD_HASHES_AT_ONCE limit from the settings."""
    hasher = PasswordHasher(settings.argon2_passes, settings.argon2_memory, parallelism=1)
    app.extensions["hashing"] = Hashing(hasher, Semaphore(settings.password_hashes_at_once))


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, with its salt and parameters, in the PHC string format.

    Raises `Unavailable`.
    """
    hashing = _hashing()
    with _acquire_semaphore(hashing), _report_errors():
        password_hash = hashing.hasher.hash(normalise(password))
    PASSWORD_HASHES.labels(hashing.parameters).inc()
    return password_hash


def verify_password(password_hash: str | None, password: str) -> bool:
    """Return whether a password matches a hash. `password_hash` is None if there is nobody to log in.

    Accepts argon2 and werkzeug hashes. False takes the same time for every hash, and for None. Raises
    `Unavailable` if the hash cannot be computed, because memory is short or the hash is damaged.
    """
    hashing = _hashing()
    # Treat an unknown user like a user with a current hash, errors included.
    first = password_hash or make_decoy(hashing.parameters)
    with _acquire_semaphore(hashing):
        if _matches(first, password) and password_hash:
            return True
        for parameters, decoy in find_decoys(hashing.parameters).items():
            if parameters != parameters_of(first):
                # The password is known to be wrong by now, even if a decoy cannot be computed.
                with suppress(Unavailable):
                    _matches(decoy, password)
    return False


def needs_rehash(password_hash: str) -> bool:
    """Return whether the algorithm or costs of a hash differ from those of `hash_password`."""
    return bool(_WERKZEUG.fullmatch(password_hash)) or _hashing().hasher.check_needs_rehash(password_hash)


def parameters_of(password_hash: str) -> str:
    """Return the algorithm and costs of a hash: the part before its salt and digest."""
    return password_hash.rsplit("$", 2)[0][:64]


def is_password_hash(text: str) -> bool:
    """Return whether a text is a hash that `verify_password` can check and that fits the database column."""
    try:
        is_hash = len(text) <= 255 and bool(_WERKZEUG.fullmatch(text) or extract_parameters(text))
        if is_hash:
            _compare(text, "")  # fails if this machine cannot afford the costs
    except _ERRORS:
        return False
    return is_hash


def normalise(password: str) -> str:
    """Return a password in NFKC, because keyboards encode characters differently (SP 800-63B 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _matches(password_hash: str, password: str) -> bool:
    with _report_errors():
        matches = _compare(password_hash, password)
    PASSWORD_HASHES.labels(parameters_of(password_hash)).inc()
    return matches


def _compare(password_hash: str, password: str) -> bool:
    """Return whether a password matches a hash. Raises one of `_ERRORS` if the hash cannot be computed."""
    if _WERKZEUG.fullmatch(password_hash):
        return check_password_hash(password_hash, password)  # not normalised, because werkzeug does not
    try:
        return _hashing().hasher.verify(password_hash, normalise(password))
    except VerifyMismatchError:
        return False


@contextmanager
def _report_errors() -> Iterator[None]:
    """Log an error of the libraries and raise `Unavailable`: the client has done nothing wrong."""
    try:
        yield
    except _ERRORS as error:
        # Do not log a damaged hash: it may be a password that was stored by mistake.
        reason = "the hash is damaged" if isinstance(error, InvalidHashError) else str(error)
        name = type(error).__name__
        current_app.logger.error("cannot compute a password hash: %s: %s", name, reason)  # noqa: TRY400
        raise Unavailable from None


@contextmanager
def _acquire_semaphore(hashing: Hashing) -> Iterator[None]:
    # Each hash allocates ARGON2_MEMORY: a flood of logins must not exhaust the machine.
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
