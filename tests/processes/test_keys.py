"""Keys from openssl and from our command work, in files and in environment variables."""

import json
import subprocess
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask.testing import FlaskClient

import auth_app
from flask_resource_server.tokens.keys import parse_public_keys, thumbprint
from tests.conftest import KeyPair, bearer, get_token, open_auth, open_course
from tests.servers import run_flask


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("bits", ["2048", "3072"])
def test_openssl_key_pair_works_unchanged(bits: str, tmp_path: Path) -> None:
    pair = KeyPair(tmp_path / "private_key.pem", tmp_path / "public_key.pem")
    openssl("genrsa", "-out", pair.private_file, bits)
    openssl("rsa", "-in", pair.private_file, "-pubout", "-out", pair.public_file)

    assert log_in_and_read(pair, tmp_path) == 200


@pytest.mark.parametrize(
    "arguments", [["-traditional"], ["-F4"], ["-3"]], ids=["PKCS1", "exponent 65537", "exponent 3"]
)
def test_other_openssl_key_formats_work(arguments: list[str], tmp_path: Path) -> None:
    pair = KeyPair(tmp_path / "private_key.pem", tmp_path / "public_key.pem")
    openssl("genrsa", *arguments, "-out", pair.private_file, "2048")
    openssl("rsa", "-in", pair.private_file, "-RSAPublicKey_out", "-out", pair.public_file)

    assert log_in_and_read(pair, tmp_path) == 200


def test_generated_key_pair_has_the_format_and_file_modes_of_openssl(tmp_path: Path) -> None:
    for folder in ("ours", "openssl"):
        (tmp_path / folder / "keys").mkdir(parents=True)
    run_flask("wsgi_auth", "keys generate", {}, tmp_path / "ours")
    private_file = tmp_path / "openssl/keys/private_key.pem"
    openssl("genrsa", "-out", private_file, "2048")
    openssl("rsa", "-in", private_file, "-pubout", "-out", tmp_path / "openssl/keys/public_key.pem")

    for name in ("private_key.pem", "public_key.pem"):
        ours, theirs = (tmp_path / folder / "keys" / name for folder in ("ours", "openssl"))
        assert ours.stat().st_mode == theirs.stat().st_mode
        assert ours.read_bytes().splitlines()[0] == theirs.read_bytes().splitlines()[0]
    openssl("rsa", "-noout", "-check", "-in", tmp_path / "ours/keys/private_key.pem")
    pair = KeyPair(tmp_path / "ours/keys/private_key.pem", tmp_path / "ours/keys/public_key.pem")
    assert log_in_and_read(pair, tmp_path) == 200


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("private_key.pem", "keys/private_key.pem holds no private key"),
        ("public_key.pem", "keys/public_key.pem exists and was left as it is"),
    ],
)
def test_generate_does_not_overwrite_existing_files(name: str, refusal: str, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / name).write_text("mine")
    (tmp_path / "keys" / name).chmod(0o600)

    with pytest.raises(AssertionError, match=refusal):
        run_flask("wsgi_auth", "keys generate", {}, tmp_path)

    assert [path.name for path in (tmp_path / "keys").iterdir()] == [name]
    assert (tmp_path / "keys" / name).read_text() == "mine"


def test_generate_reports_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Error: keys: No such file or directory"):
        run_flask("wsgi_auth", "keys generate", {}, tmp_path)


@pytest.mark.parametrize("line_break", ["\n", "\\n", "\r\n"], ids=["real", "escaped", "Windows"])
def test_keys_can_be_given_as_text(
    line_break: str, key_pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", key_pair.private_file.read_text().replace("\n", line_break))
    monkeypatch.setenv("JWT_PUBLIC_KEY", key_pair.public_file.read_text().replace("\n", line_break))

    assert auth_app.create_app().extensions["signing_key"].get().kid == key_pair.kid


def test_kid_is_the_rfc_7638_thumbprint() -> None:
    """The example of RFC 7638 section 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZ"
        "CiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJ"
        "ZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBn"
        "iIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    key = RSAPublicNumbers(65537, int.from_bytes(urlsafe_b64decode(n + "==")))

    assert thumbprint(key.public_key()) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_key_set_contains_only_the_public_members_of_every_published_key(
    key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(other_key_pair.public_file.read_bytes() + b"\n" + key_pair.public_file.read_bytes())

    with open_auth(f"sqlite:///{tmp_path}/auth.db", KeyPair(key_pair.private_file, both)) as auth:
        response = auth.get("/.well-known/jwks.json")

    assert response.json
    assert {key["kid"] for key in response.json["keys"]} == {key_pair.kid, other_key_pair.kid}
    for key in response.json["keys"]:
        assert set(key) == {"kid", "use", "alg", "kty", "n", "e"}
    assert response.headers["Cache-Control"] == "public, max-age=300"


def test_key_set_supports_conditional_requests(auth: FlaskClient) -> None:
    tag = auth.get("/.well-known/jwks.json").headers["ETag"]

    assert auth.get("/.well-known/jwks.json", headers={"If-None-Match": tag}).status_code == 304
    assert auth.get("/.well-known/jwks.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_pyjwt_verifies_tokens_with_the_published_key_set(auth: FlaskClient) -> None:
    import jwt

    keys = jwt.PyJWKSet.from_json(json.dumps(auth.get("/.well-known/jwks.json").json))
    token = get_token(auth)

    claims = jwt.decode(
        token, keys[jwt.get_unverified_header(token)["kid"]], ["RS256"], audience="http://127.0.0.1:8082"
    )
    assert claims["username"] == "student1"


def test_public_keys_are_indexed_by_kid(key_pair: KeyPair, other_key_pair: KeyPair) -> None:
    texts = [pair.public_file.read_text() for pair in (key_pair, other_key_pair, key_pair)]

    keys = parse_public_keys("\n\n".join(texts), "test")

    assert set(keys) == {key_pair.kid, other_key_pair.kid}
    assert keys[key_pair.kid].key == load_pem_public_key(texts[0].encode())


def log_in_and_read(pair: KeyPair, folder: Path) -> int:
    """Return the status of course_app's response to a new token from auth_app."""
    with (
        open_auth(f"sqlite:///{folder}/auth.db", pair) as auth,
        open_course(f"sqlite:///{folder}/course.db", pair) as course,
    ):
        return course.get("/courses", headers=bearer(get_token(auth))).status_code
