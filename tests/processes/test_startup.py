"""A service that cannot start says why, and how to fix it, in one line."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import RSAAlgorithm

import auth_app
import course_app
from auth_app.keys.revoked_keys import RevokedKeys
from auth_app.keys.signing_key import open_signing_key
from auth_app.settings import AuthSettings
from flask_resource_server.tokens.keys import UnusableKey
from flask_resource_server.tokens.public_keys import open_keys
from shared.startup import check_startup
from tests.servers import GUNICORN, environment_for

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
CURVE = ec.generate_private_key(ec.SECP256R1())


def private(
    key: PrivateKeyTypes = RSA,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encoding: Encoding = Encoding.PEM,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = RSA) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PRIVATE_FORMS = {
    "PKCS8": private(),
    "PKCS1": private(form=PrivateFormat.TraditionalOpenSSL),
    "encrypted": private(encryption=BestAvailableEncryption(b"x")),
    "OpenSSH": private(form=PrivateFormat.OpenSSH),
    "elliptic curve": private(CURVE),
    "elliptic curve, SEC1": private(CURVE, PrivateFormat.TraditionalOpenSSL),
    "in one line": private().replace(b"\n", b"\\n"),
    "after the public key": public() + private(),
    "before the public key": private() + public(),
    "in a comment": b"".join(b"# " + line + b"\n" for line in private().splitlines()) + public(),
    "under a public label": private().replace(b"PRIVATE", b"PUBLIC"),
    "DER": private(encoding=Encoding.DER),
    "DER, PKCS1": private(form=PrivateFormat.TraditionalOpenSSL, encoding=Encoding.DER),
    "JWK": RSAAlgorithm.to_jwk(RSA).encode(),
    "base64 of DER": b"\n".join(private().splitlines()[1:-1]) + b"\n" + public(),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with good keys, in which a service would start."""
    keys = tmp_path / "keys"
    keys.mkdir()
    write(keys / "private_key.pem", private(), 0o600)
    write(keys / "public_key.pem", public(), 0o644)
    return tmp_path


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def refuse(create_app: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """Start a service as gunicorn.conf.py does, and return the one line with which it refuses."""
    with pytest.raises(SystemExit) as refusal:
        check_startup(create_app())
    assert refusal.value.code == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_services_start_with_good_keys(folder: Path) -> None:
    check_startup(auth_app.create_app())
    check_startup(course_app.create_app())


@pytest.mark.parametrize("form", PRIVATE_FORMS.values(), ids=PRIVATE_FORMS)
@pytest.mark.parametrize("create_app", [course_app.create_app, auth_app.create_app], ids=["course", "auth"])
def test_private_key_in_the_public_key_file_is_refused(
    form: bytes, create_app: Callable[[], object], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "keys/public_key.pem", form)

    line = refuse(create_app, capsys)

    assert "cannot start: keys/public_key.pem" in line
    assert "openssl rsa" in line or "copy the public key" in line


@pytest.mark.parametrize("form", [name for name in PRIVATE_FORMS if "DER" not in name[:3]])
def test_private_key_in_the_public_key_variable_is_refused(
    form: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JWT_PUBLIC_KEY", PRIVATE_FORMS[form].decode())

    assert refuse(course_app.create_app, capsys).startswith("course_app cannot start: JWT_PUBLIC_KEY ")


@pytest.mark.parametrize(
    "name", ["JWT_PRIVATE_KEY", "JWT_PRIVATE_KEY_FILE", "JWT_PRIVATE_KEY_PASSWORD", "jwt_private_key"]
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_resource_server_refuses_private_key_settings(
    name: str, place: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if place == ".env":
        (folder / ".env").write_text(f"{name}=keys/private_key.pem\n")
    else:
        monkeypatch.setenv(name, "keys/private_key.pem")

    line = refuse(course_app.create_app, capsys)

    assert line.startswith(f"course_app cannot start: {name.upper()} is set")
    assert "unset it here" in line


def make_folder(keys: Path) -> None:
    (keys / "private_key.pem").unlink()
    (keys / "private_key.pem").mkdir()


# A change to a folder of good keys, and part of the error message.
BAD_KEYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no private key": (
        lambda keys: (keys / "private_key.pem").unlink(),
        "create a key pair with `flask --app",
    ),
    "no public key": (lambda keys: (keys / "public_key.pem").unlink(), "put the issuer's public key there"),
    "private key is a folder": (
        make_folder,
        "cannot be read",
    ),
    "private key is empty": (lambda keys: write(keys / "private_key.pem", b""), "openssl genrsa"),
    "private key is public": (lambda keys: write(keys / "private_key.pem", public()), "openssl genrsa"),
    "private key is encrypted": (
        lambda keys: write(keys / "private_key.pem", PRIVATE_FORMS["encrypted"]),
        "decrypt it",
    ),
    "private key is short": (
        lambda keys: write(keys / "private_key.pem", private(SHORT)),
        "1024 bits: create one of 2048 bits or more",
    ),
    "private key is not RSA": (lambda keys: write(keys / "private_key.pem", private(CURVE)), "is not RSA"),
    "private key belongs to another pair": (
        lambda keys: write(keys / "public_key.pem", public(rsa.generate_private_key(65537, 2048))),
        "does not match the public key",
    ),
    "public key is short": (lambda keys: write(keys / "public_key.pem", public(SHORT)), "1024 bits"),
    "public key is not RSA": (lambda keys: write(keys / "public_key.pem", public(CURVE)), "is not RSA"),
    "one of two public keys is short": (
        lambda keys: write(keys / "public_key.pem", public() + public(SHORT)),
        "1024 bits",
    ),
    "public key is empty": (lambda keys: write(keys / "public_key.pem", b""), "must hold PEM blocks"),
    "public key is text": (lambda keys: write(keys / "public_key.pem", b"hello"), "must hold PEM blocks"),
    "public key is damaged": (
        lambda keys: write(keys / "public_key.pem", public().replace(b"M", b"N", 1)),
        "damaged",
    ),
    **{
        f"private key has mode {mode:o}": (
            lambda keys, mode=mode: (keys / "private_key.pem").chmod(mode),  # type: ignore[misc]
            "run `chmod 600 keys/private_key.pem`, or set `defaultMode: 0440` for a Kubernetes Secret",
        )
        for mode in (0o644, 0o604, 0o660, 0o602, 0o601, 0o666, 0o777)
    },
}


@pytest.mark.parametrize(("change", "remedy"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_bad_key_is_refused(
    change: Callable[[Path], object], remedy: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / "keys")

    line = refuse(auth_app.create_app, capsys)

    assert line.startswith("auth_app cannot start: keys/")
    assert remedy in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and become another user")
@pytest.mark.parametrize(
    ("owner", "mode", "reader", "refusal"),
    [
        (0, 0o640, 0, None),
        (0, 0o400, 0, None),
        (0, 0o440, 0, None),
        (12345, 0o600, 12345, None),
        (12345, 0o400, 12345, None),
        (12345, 0o640, 12345, "can be read by others"),
        (12345, 0o600, 0, "belongs to another user"),
        (54321, 0o644, 12345, "belongs to another user"),
        (0, 0o600, 12345, "cannot be read"),
    ],
)
def test_owner_and_mode_of_the_private_key_are_checked(
    owner: int, mode: int, reader: int, refusal: str | None, folder: Path
) -> None:
    for path in (folder, folder / "keys", folder / "keys/public_key.pem"):
        os.chown(path, reader, -1)
    os.chown(folder / "keys/private_key.pem", owner, -1)
    (folder / "keys/private_key.pem").chmod(mode)
    settings = AuthSettings()
    public_keys = open_keys(settings.jwt_public_key, settings.jwt_public_key_file, "JWT_PUBLIC_KEY")
    signing_key = open_signing_key(settings, public_keys, RevokedKeys(settings.revoked_keys_file))

    os.seteuid(reader)
    try:
        with pytest.raises(UnusableKey, match=refusal) if refusal else contextlib.nullcontext():
            signing_key.check_startup()
    finally:
        os.seteuid(0)


def test_refusal_names_the_variable_that_holds_the_wrong_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    monkeypatch.setenv("JWT_PRIVATE_KEY", private(other).decode())

    line = refuse(auth_app.create_app, capsys)

    assert line.startswith("auth_app cannot start: JWT_PRIVATE_KEY does not match the public key")


@pytest.mark.parametrize(
    ("application", "change", "config"),
    [
        *(
            (application, change, config)
            for application, change in (
                ("wsgi_course", {"JWT_PRIVATE_KEY": "x"}),
                ("wsgi_course", {"JWT_PUBLIC_KEY": private().decode()}),
                ("wsgi_auth", {"JWT_PRIVATE_KEY": "x"}),
                ("wsgi_auth", {"ISSUER": "nonsense"}),
            )
            for config in ("ours", "none")
        ),
        ("wsgi_auth", {"JWT_PRIVATE_KEY_FILE": "nowhere.pem"}, "ours"),
        ("wsgi_auth", {"JWT_PUBLIC_KEY_FILE": "nowhere.pem"}, "ours"),
        ("wsgi_course", {"JWT_PUBLIC_KEY_FILE": "nowhere.pem"}, "ours"),
        ("wsgi_course", {"JWT_PUBLIC_KEY_FILE": "keys/private_key.pem"}, "ours"),
    ],
)
def test_gunicorn_exits_when_the_service_refuses_to_start(
    application: str, change: dict[str, str], config: str, folder: Path
) -> None:
    """Bad settings end it with any configuration; bad key files with ours, which checks them at startup."""
    command = GUNICORN if config == "ours" else [sys.executable, "-m", "gunicorn", "--no-control-socket"]

    ended = subprocess.run(
        [*command, "--bind", "127.0.0.1:0", f"{application}:app"],
        env=environment_for(change),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 3
    refusals = [line for line in ended.stderr.splitlines() if "cannot start: " in line]
    assert len(refusals) == 1
    assert "Traceback" not in ended.stderr
