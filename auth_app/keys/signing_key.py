"""Load the private RSA key and reload it when it changes: the only module that reads one."""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flask import current_app

from auth_app.keys.revoked_keys import RevokedKeys
from auth_app.settings import AuthSettings
from flask_resource_server.documents.files import FollowedFile
from flask_resource_server.exceptions import Degraded
from flask_resource_server.tokens.keys import UnusableKey, check_size, thumbprint
from flask_resource_server.tokens.public_keys import PublicKeys

NOT_PUBLISHED = (
    "{} does not match the public key: recreate the public key with `openssl rsa -in private_key.pem "
    "-pubout -out public_key.pem`"
)
NEW_FILES = "run `flask --app wsgi_auth keys revoke {}`, which replaces it with a new key"
NEW_VARIABLES = "put a new key pair into JWT_PRIVATE_KEY and JWT_PUBLIC_KEY, and restart auth_app"


@dataclass(frozen=True, repr=False)
class PrivateKey:
    """A parsed private key, and the `kid` of its public key."""

    kid: str
    key: rsa.RSAPrivateKey


class PrivateKeySource(Protocol):
    """A source of the private key: a setting or a file."""

    name: str  # for error messages

    def read(self) -> PrivateKey:
        """Return the last good key. Raises `UnusableKey` if there never was one."""

    def problem(self) -> str | None:
        """Return what is wrong with the current key, None if it is good."""

    def age(self) -> float | None:
        """Return the seconds since the key was last changed, None if unknown."""


class FixedPrivateKey:
    """The private key in the setting JWT_PRIVATE_KEY. The constructor raises `UnusableKey`."""

    name = "JWT_PRIVATE_KEY"

    def __init__(self, pem: str, revoked: RevokedKeys) -> None:
        self._revoked = revoked
        self._key = _parse_private_key(pem.replace("\\n", "\n").encode(), self.name)

    def read(self) -> PrivateKey:
        """Return the key. Raises `UnusableKey` if it is revoked."""
        self._revoked.refuse(self._key.kid, self.name, NEW_VARIABLES)
        return self._key

    def problem(self) -> str | None:
        """Return None."""
        return None

    def age(self) -> float | None:
        """Return None."""
        return None


class FollowedPrivateKey:
    """The private key in a PEM file, which is reloaded when it changes."""

    def __init__(self, path: Path, revoked: RevokedKeys) -> None:
        self.name = str(path)
        self._path = path
        self._revoked = revoked
        self._file = FollowedFile(path, self._read_unrevoked)

    def read(self) -> PrivateKey:
        """Return the key from the last good version of the file. Raises `UnusableKey` if there was none."""
        return self._file.value

    def problem(self) -> str | None:
        """Return what is wrong with the current file, None if it is good."""
        return self._file.problem

    def age(self) -> float | None:
        """Return the seconds since the file was changed."""
        try:
            return time.time() - self._path.stat().st_mtime
        except OSError:  # the file is gone, and the last good key still signs
            return None

    def _read_unrevoked(self, path: Path) -> PrivateKey:
        key = read_private_key(path)
        self._revoked.refuse(key.kid, self.name, NEW_FILES.format(key.kid))
        return key


class SigningKey:
    """The current signing key: the newest private key whose public key is published and not revoked."""

    def __init__(self, source: PrivateKeySource, public_keys: PublicKeys) -> None:
        self._source = source
        self._public_keys = public_keys
        self._key: PrivateKey | None = None
        self.age = source.age

    def get(self) -> PrivateKey:
        """Return the key to sign with. Raises `UnusableKey` if no known private key is published."""
        newest = self._source.read()
        if newest.kid in self._public_keys:
            self._key = newest
        elif self._key is None or self._key.kid not in self._public_keys:
            raise UnusableKey(NOT_PUBLISHED.format(self._source.name))
        return self._key

    def check(self) -> None:
        """Raise `Degraded` while an older key signs instead of the newest one, and what `get` raises."""
        if self.get() is not self._source.read():
            raise Degraded("the newest private key is not published")
        if problem := self._source.problem():
            raise Degraded(problem)

    def check_startup(self) -> None:
        """Raise `UnusableKey` if nothing can be signed."""
        self.get()


def open_signing_key(settings: AuthSettings, public_keys: PublicKeys, revoked: RevokedKeys) -> SigningKey:
    """Return the signing key that the settings configure.

    JWT_PRIVATE_KEY is parsed now. A file is read when it is first needed. Raises `UnusableKey`.
    """
    if settings.jwt_private_key:
        text = settings.jwt_private_key.get_secret_value()
        return SigningKey(FixedPrivateKey(text, revoked), public_keys)
    return SigningKey(FollowedPrivateKey(settings.jwt_private_key_file, revoked), public_keys)


def current_signing_key() -> SigningKey:
    """Return the signing key of the current application."""
    signing_key: SigningKey = current_app.extensions["signing_key"]
    return signing_key


def read_private_key(path: Path) -> PrivateKey:
    """Read a private key from a file that other users cannot read. Raises `UnusableKey`."""
    return _parse_private_key(_read_private_file(path), str(path))


def _read_private_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            _check_permissions(os.fstat(file.fileno()), path)
            return file.read()
    except OSError as error:
        raise UnusableKey(
            f"{path} cannot be read ({error.strerror}): create a key pair with `flask --app wsgi_auth keys "
            "generate`, or set JWT_PRIVATE_KEY_FILE to the private key's file"
        ) from None


def _check_permissions(status: os.stat_result, path: Path) -> None:
    # The rule of PostgreSQL for its TLS key: 0600 for our own file, or 0640 for a file that belongs to root.
    if status.st_uid not in {0, os.geteuid()}:
        raise UnusableKey(f"{path} belongs to another user: `chown` it to this service's user or to root")
    allowed = 0o640 if status.st_uid == 0 else 0o600
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o077:
        raise UnusableKey(
            f"{path} can be read by others: run `chmod 600 {path}`, or set `defaultMode: 0440` for a "
            "Kubernetes Secret"
        )


def _parse_private_key(pem: bytes, source: str) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UnusableKey(f"{source} is encrypted: decrypt it with `openssl rsa -in old -out new`") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(
            f"{source} holds no private key in PEM: create one with "
            "`openssl genrsa -out private_key.pem 2048`"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UnusableKey(f"{source} holds a key that is not RSA: RS256 needs an RSA key")
    check_size(key.public_key(), source)
    return PrivateKey(thumbprint(key.public_key()), key)
