"""Hash passwords with argon2id, and check them in the same time whether or not the user exists."""

import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, with its salt and parameters in one text."""
    return _HASHER.hash(_normalise(password))


def verify_password(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is the one that was hashed; without a hash the same work is done for a no."""
    try:
        matches = _HASHER.verify(password_hash or _decoy(), _normalise(password))
    except (VerificationError, InvalidHashError):
        return False
    return matches and password_hash is not None


def prepare() -> None:
    """Make the decoy before the first request, which would otherwise take twice as long as the next."""
    _decoy()


@cache
def _decoy() -> str:
    return hash_password("")


def _normalise(password: str) -> str:
    # Keyboards differ in how they spell the same character (NIST SP 800-63B section 3.1.1.2).
    return unicodedata.normalize("NFKC", password)
