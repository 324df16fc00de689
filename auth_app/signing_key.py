"""Make, read and check the private key: the only module that loads one."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from auth_app.settings import AuthSettings
from shared.keys import MINIMUM_BITS, PublicKeys, UnusableKey, check_size, thumbprint


@dataclass(frozen=True, repr=False)
class SigningKey:
    """The private key that signs, parsed once, and the `kid` of its public half."""

    kid: str
    private_key: rsa.RSAPrivateKey


def read_signing_key(settings: AuthSettings, public_keys: PublicKeys) -> SigningKey:
    """Read the private key that the settings name; it must belong to one of the published `public_keys`.

    Raises `UnusableKey`.
    """
    if settings.jwt_private_key:
        source = "JWT_PRIVATE_KEY"
        pem = settings.jwt_private_key.get_secret_value().replace("\\n", "\n").encode()
    else:
        source = str(settings.jwt_private_key_file)
        pem = _read_private_file(settings.jwt_private_key_file)
    private_key = _parse_private_key(pem, source)
    kid = thumbprint(private_key.public_key())
    if kid not in public_keys:
        raise UnusableKey(
            f"{source} does not match the public key: make that anew with `openssl rsa -in private_key.pem "
            "-pubout -out public_key.pem`"
        )
    return SigningKey(kid, private_key)


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


def _check_permissions(status: os.stat_result, path: Path) -> None:
    # PostgreSQL's rule for its own key: nobody but the owner, or root's file that one group may read.
    if status.st_uid not in {0, os.geteuid()}:
        raise UnusableKey(f"{path} belongs to another user: `chown` it to this service's user or to root")
    allowed = 0o640 if status.st_uid == 0 else 0o600
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o077:
        raise UnusableKey(f"{path} can be read by others: run `chmod 600 {path}`")


def _parse_private_key(pem: bytes, source: str) -> rsa.RSAPrivateKey:
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
    return key


def generate_key_pair(private_path: Path, public_path: Path) -> str:
    """Write a new RSA key pair, as `openssl genrsa` and `openssl rsa -pubout` do, and return its `kid`.

    No file is overwritten. Raises `FileExistsError`, or another `OSError`.
    """
    for path in (private_path, public_path):
        if path.exists():
            raise FileExistsError(f"{path} exists and was left as it is")
    key = rsa.generate_private_key(public_exponent=65537, key_size=MINIMUM_BITS)
    private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(private_path, private_pem, 0o600)
    _write_new(public_path, public_pem, 0o644)
    return thumbprint(key.public_key())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Let a file appear whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, fails when the name is taken
    finally:
        draft.unlink(missing_ok=True)
