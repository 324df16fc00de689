"""Read the private key and keep it current: the only module that loads one."""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auth_app.revoked_keys import RevokedKeys
from auth_app.settings import AuthSettings
from shared.errors import Unavailable
from shared.files import FollowedFile
from shared.health import Degraded
from shared.keys import UnusableKey, check_size, thumbprint
from shared.public_keys import PublicKeys

NOT_PUBLISHED = (
    "{} does not match the public key: make that anew with `openssl rsa -in private_key.pem -pubout -out "
    "public_key.pem`"
)
NEW_FILES = "run `flask --app wsgi_auth keys revoke {}`, which puts a new key in its place"
NEW_VARIABLES = "put a new key pair into JWT_PRIVATE_KEY and JWT_PUBLIC_KEY, and restart auth_app"


@dataclass(frozen=True, repr=False)
class PrivateKey:
    """A private key, parsed once, and the `kid` of its public half."""

    kid: str
    key: rsa.RSAPrivateKey


class SigningKey:
    """The key that signs now: the newest one whose public half is published, and never a revoked one.

    It follows the private key's file. Raises `UnusableKey` where there is none at the start.
    """

    def __init__(self, settings: AuthSettings, public_keys: PublicKeys, revoked: RevokedKeys) -> None:
        self._public_keys = public_keys
        if settings.jwt_private_key:
            source = "JWT_PRIVATE_KEY"
            pem = settings.jwt_private_key.get_secret_value().replace("\\n", "\n").encode()
            fixed = _parse_private_key(pem, source)
            revoked.refuse(fixed.kid, source, NEW_VARIABLES)
            self._read: Callable[[], PrivateKey] = lambda: fixed
            self._problem: Callable[[], str | None] = lambda: None
            self.age: Callable[[], float | None] = lambda: None
        else:
            source = str(settings.jwt_private_key_file)

            def read(path: Path) -> PrivateKey:
                key = read_private_key(path)
                revoked.refuse(key.kid, source, NEW_FILES.format(key.kid))
                return key

            file = FollowedFile(settings.jwt_private_key_file, read)
            self._read = lambda: file.value
            self._problem = lambda: file.problem
            self.age = lambda: _age_of(settings.jwt_private_key_file)
        self._key = self._read()
        if self._key.kid not in public_keys:
            raise UnusableKey(NOT_PUBLISHED.format(source))

    def get(self) -> PrivateKey:
        """Return the key to sign with. Raises `Unavailable` when none is left that is published."""
        newest = self._read()
        if newest.kid in self._public_keys:
            self._key = newest
        elif self._key.kid not in self._public_keys:
            raise Unavailable("No key is fit to sign with.")
        return self._key

    def check(self) -> None:
        """Raise `Degraded` while an older key signs than the one that was put there last."""
        if problem := self._problem():
            raise Degraded(problem)
        if self.get() is not self._read():
            raise Degraded("the newest private key is not published")


def read_private_key(path: Path) -> PrivateKey:
    """Read a private key that nobody else can read. Raises `UnusableKey`."""
    return _parse_private_key(_read_private_file(path), str(path))


def _read_private_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            _check_permissions(os.fstat(file.fileno()), path)
            return file.read()
    except OSError as error:
        raise UnusableKey(
            f"{path} cannot be read ({error.strerror}): make a key pair with `flask --app wsgi_auth keys "
            "generate`, or name the private key's file in JWT_PRIVATE_KEY_FILE"
        ) from None


def _age_of(path: Path) -> float | None:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # the last good key signs, and how old it is nobody knows
        return None


def _check_permissions(status: os.stat_result, path: Path) -> None:
    # PostgreSQL's rule for its own key: nobody but the owner, or root's file that one group may read.
    if status.st_uid not in {0, os.geteuid()}:
        raise UnusableKey(f"{path} belongs to another user: `chown` it to this service's user or to root")
    allowed = 0o640 if status.st_uid == 0 else 0o600
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o077:
        raise UnusableKey(f"{path} can be read by others: run `chmod 600 {path}`")


def _parse_private_key(pem: bytes, source: str) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UnusableKey(f"{source} is encrypted: decrypt it with `openssl rsa -in old -out new`") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(
            f"{source} holds no private key in PEM: make one with `openssl genrsa -out private_key.pem 2048`"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UnusableKey(f"{source} holds a key that is not RSA: RS256 needs an RSA key")
    check_size(key.public_key(), source)
    return PrivateKey(thumbprint(key.public_key()), key)
