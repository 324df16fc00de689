"""A service fetches its keys from JWKS_URL; the issuer may respond with anything."""

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask.testing import FlaskClient
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

import course_app
from flask_resource_server.tokens.keys import public_jwk
from flask_resource_server.tokens.public_keys import MAXIMUM_SIZE
from tests.certificates import make_certificate
from tests.conftest import KeyPair, bearer, open_course
from tests.forger import Forger, encode
from tests.issuers import Issuer, copy_path, reserve_port, serve_issuer, write_key_copy
from tests.servers import call, listen, run_flask, serve, wait_for

SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
CURVE = ec.generate_private_key(ec.SECP256R1())
HTML = b"<!doctype html><title>A proxy's page</title>"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as running:
        yield running


def jwk(pair: KeyPair, **changes: Any) -> dict[str, Any]:
    members = {"use": "sig", "alg": "RS256", **public_jwk(pair.private_key.public_key()), **changes}
    return {name: value for name, value in members.items() if value is not None}


@contextmanager
def open_fetching(issuer: Issuer, folder: Path, **settings: Any) -> Iterator[FlaskClient]:
    with open_course(
        f"sqlite:///{folder}/course.db",
        None,
        **{
            "jwks_url": issuer.url,
            "copies": folder,
            "jwks_refresh": 1000,
            "jwks_cooldown": 1000,
        }
        | settings,
    ) as client:
        yield client


def read(client: FlaskClient, pair: KeyPair) -> int:
    """Return the status of the response to a token signed with a private key."""
    token = Forger(pair.private_key, pair.kid).sign()
    return client.get("/courses", headers=bearer(token)).status_code


def test_keys_are_fetched_once_from_the_url(issuer: Issuer, key_pair: KeyPair, tmp_path: Path) -> None:
    issuer.publish(jwk(key_pair))

    with open_fetching(issuer, tmp_path) as course:
        assert [read(course, key_pair) for _ in range(3)] == [200] * 3

    assert issuer.requests == ["/jwks.json"], "one fetch for all requests"


def test_key_without_optional_members_is_accepted(issuer: Issuer, key_pair: KeyPair, tmp_path: Path) -> None:
    """`use`, `alg` and `kid` are optional (RFC 7517 section 4)."""
    issuer.publish(jwk(key_pair, use=None, alg=None, key_ops=["verify"]))

    with open_fetching(issuer, tmp_path) as course:
        assert read(course, key_pair) == 200


def test_service_starts_from_its_copy_while_the_issuer_is_down(key_pair: KeyPair, tmp_path: Path) -> None:
    down = Issuer(url=f"http://127.0.0.1:{reserve_port()}")
    write_key_copy(tmp_path, down.url, key_pair.private_key.public_key())

    with open_fetching(down, tmp_path) as course:
        assert read(course, key_pair) == 200
        assert course.get("/readyz").json == {"status": "degraded", "degraded": ["keys"]}


def test_service_without_keys_responds_503_until_the_issuer_is_up(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.status = 500

    with open_fetching(issuer, tmp_path, jwks_cooldown=1) as course:
        token = Forger(key_pair.private_key, key_pair.kid).sign()
        refused, ready = course.get("/courses", headers=bearer(token)), course.get("/readyz")
        assert (refused.status_code, ready.status_code) == (503, 503)
        assert refused.headers["Retry-After"] == ready.headers["Retry-After"] == "1"
        assert "WWW-Authenticate" not in refused.headers, "a 401 would tell the client to drop the token"
        assert course.get("/courses").status_code == 401
        assert course.get("/healthz").status_code == 200

        issuer.publish(jwk(key_pair))

        wait_for(lambda: read(course, key_pair) == 200)
        assert course.get("/readyz").get_json() == {"status": "ok"}


def test_damaged_copy_is_ignored_and_keys_are_fetched(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    copy_path(tmp_path, "keys", setting=issuer.url).write_text("half a k")
    issuer.publish(jwk(key_pair))

    with open_fetching(issuer, tmp_path) as course:
        assert read(course, key_pair) == 200


# Bad responses from an issuer, and what the log says about each.
BAD_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "500": ({"status": 500}, "FetchError: the status is 500"),
    "404": ({"status": 404}, "the status is 404"),
    "204": ({"status": 204}, "the status is 204"),
    "redirect": ({"status": 302, "headers": {"Location": "OTHER"}}, "the status is 302"),
    "HTML": ({"body": HTML}, "not a JWK Set"),
    "empty": ({"body": b""}, "not a JWK Set"),
    "truncated": ({"body": b'{"keys": [{"kty": "RSA", "n": "AQAB'}, "not a JWK Set"),
    "not UTF-8": ({"body": b'{"keys": "\xff"}'}, "not a JWK Set"),
    "nested too deeply": ({"body": b"[" * 60_000}, "not a JWK Set"),
    "list": ({"body": b"[]"}, "not a JWK Set"),
    "number": ({"body": b"1"}, "not a JWK Set"),
    "keys is not a list": ({"body": b'{"keys": {"a": 1}}'}, "not a JWK Set"),
    "too large": ({"body": b" " * (MAXIMUM_SIZE + 1)}, "larger than"),
    "byte by byte": ({"body": HTML * 100, "pace": 0.1}, "no complete response within 3 seconds"),
    "no response": ({"body": HTML, "pace": 60}, "no complete response within 3 seconds"),
}


@pytest.mark.parametrize(("answer", "said"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_bad_response_keeps_the_last_good_key_set(
    answer: dict[str, Any],
    said: str,
    issuer: Issuer,
    key_pair: KeyPair,
    other_key_pair: KeyPair,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_key_copy(tmp_path, issuer.url, key_pair.private_key.public_key())
    issuer.status = answer.get("status", 200)
    issuer.body = answer.get("body", b"")
    issuer.headers = answer.get("headers", {})
    issuer.pace = answer.get("pace", 0)

    with open_fetching(issuer, tmp_path) as course:
        assert read(course, key_pair) == 200
        assert read(course, other_key_pair) == 503, "it is unknown whether the issuer has this key"
        assert course.get("/readyz").json == {"status": "degraded", "degraded": ["keys"]}
    (line,) = [
        message for _, _, message in caplog.record_tuples if message.startswith(f"cannot fetch {issuer.url}")
    ]
    assert line.startswith(f"cannot fetch {issuer.url}: ")
    assert line.endswith("; continuing with the copy from an unknown time")
    assert any(part in line for part in said.split("|")), line
    assert issuer.requests == ["/jwks.json"], "once, and no redirect is followed"


# Key sets without a usable key, and what the log says about each; OTHER is a changed key.
UNUSABLE_SETS: dict[str, tuple[dict[str, Any], str]] = {
    "key is not an object": ({"jwks": ["RSA"]}, "keys[0] is not an object"),
    "elliptic curve": ({"jwks": [json.loads(ECAlgorithm.to_jwk(CURVE.public_key()))]}, "no RSA key"),
    "symmetric key": ({"jwks": [{"kty": "oct", "k": "c2VjcmV0"}]}, "a private or secret key"),
    "private key": ({"jwks": [json.loads(RSAAlgorithm.to_jwk(SHORT))]}, "a private or secret key"),
    "for encryption": ({"jwks": ["OTHER"], "changes": {"use": "enc"}}, "no RSA key"),
    "for wrapping keys": (
        {"jwks": ["OTHER"], "changes": {"key_ops": ["wrapKey"]}},
        "no RSA key",
    ),
    "key_ops is not a list": ({"jwks": ["OTHER"], "changes": {"key_ops": 1}}, "no RSA key"),
    "for another algorithm": ({"jwks": ["OTHER"], "changes": {"alg": "RS512"}}, "no RSA key"),
    "no kty": ({"jwks": ["OTHER"], "changes": {"kty": None}}, "no RSA key"),
    "short": ({"jwks": [json.loads(RSAAlgorithm.to_jwk(SHORT.public_key()))]}, "1024 bits"),
    "no modulus": ({"jwks": ["OTHER"], "changes": {"n": None}}, "damaged"),
    "modulus is a number": ({"jwks": ["OTHER"], "changes": {"n": 5}}, "damaged"),
    "even exponent": ({"jwks": ["OTHER"], "changes": {"e": "AQAA"}}, "damaged"),
}


@pytest.mark.parametrize(("answer", "said"), UNUSABLE_SETS.values(), ids=UNUSABLE_SETS)
def test_key_set_without_a_usable_key_removes_the_previous_keys(
    answer: dict[str, Any],
    said: str,
    issuer: Issuer,
    key_pair: KeyPair,
    other_key_pair: KeyPair,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An issuer may replace a leaked RSA key with a key of another type: the RSA key is then revoked."""
    issuer.publish(jwk(key_pair))
    settings = {"jwks_refresh": 1, "jwks_cooldown": 1}
    with open_fetching(issuer, tmp_path, **settings) as course:
        assert read(course, key_pair) == 200
        other = jwk(other_key_pair, **answer.get("changes", {}))
        issuer.publish(*(other if key == "OTHER" else key for key in answer["jwks"]))

        wait_for(lambda: read(course, key_pair) == 503)

        assert course.get("/readyz").status_code == 503
        lines = [
            line
            for _, level, line in caplog.record_tuples
            if level == logging.ERROR and line.startswith(f"{issuer.url}: the set holds no RSA key")
        ]
        assert len(lines) == 1
        assert said in lines[0]
        issuer.body = HTML
        with open_fetching(issuer, tmp_path, **settings) as restarted:
            assert read(restarted, key_pair) == 503, "the stored copy has no usable key either"
        issuer.publish(jwk(key_pair))
        wait_for(lambda: read(course, key_pair) == 200)


# Keys that cannot be used: each is skipped, and the other keys of the set are still used.
BAD_KEYS: dict[str, Any] = {
    "no modulus": {"kty": "RSA", "use": "sig", "e": "AQAB", "kid": "x"},
    "modulus null": {"kty": "RSA", "n": None, "e": "AQAB"},
    "modulus not base64url": {"kty": "RSA", "n": "+/=*", "e": "AQAB"},
    "modulus not ASCII": {"kty": "RSA", "n": "\u00e9", "e": "AQAB"},
    "modulus a list": {"kty": "RSA", "n": ["AQAB"], "e": "AQAB"},
    "exponent null": {"e": None, "kty": "RSA", "n": "AQAB"},
    "exponent one": {"kty": "RSA", "n": encode(b"\xff" * 256), "e": "AQ"},
    "exponent too large": {"kty": "RSA", "n": encode(b"\xff" * 256), "e": encode(b"\xff" * 300)},
    "modulus of 40,000 bits": {"kty": "RSA", "n": encode(b"\xff" * 5000), "e": "AQAB"},
    "1024 bits": json.loads(RSAAlgorithm.to_jwk(SHORT.public_key())),
    "elliptic curve": json.loads(ECAlgorithm.to_jwk(CURVE.public_key())),
    "symmetric": {"kty": "oct", "k": "c2VjcmV0"},
    "private": json.loads(RSAAlgorithm.to_jwk(SHORT)),
    "kty null": {"kty": None},
    "use null": {"kty": "RSA", "use": None, "n": "AQAB", "e": "AQAB"},
    "null": None,
    "number": 1,
    "text": "RSA",
    "list": [],
    "empty": {},
}


@pytest.mark.parametrize("bad", BAD_KEYS.values(), ids=BAD_KEYS)
def test_bad_key_is_skipped_and_the_others_are_kept(
    bad: Any, issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.publish(bad, jwk(key_pair))

    with open_fetching(issuer, tmp_path, jwks_refresh=1, jwks_cooldown=1) as course:
        assert read(course, key_pair) == 200
        assert course.get("/readyz").json == {"status": "ok"}

        issuer.publish(bad, jwk(other_key_pair))
        wait_for(lambda: read(course, other_key_pair) == 200)
        assert read(course, key_pair) == 401, "a removed key is no longer accepted"


def test_empty_key_set_removes_all_keys(issuer: Issuer, key_pair: KeyPair, tmp_path: Path) -> None:
    """An issuer that has revoked all of its keys publishes none."""
    issuer.publish(jwk(key_pair))

    with open_fetching(issuer, tmp_path, jwks_refresh=1, jwks_cooldown=1) as course:
        assert read(course, key_pair) == 200
        issuer.publish()
        wait_for(lambda: read(course, key_pair) == 401)

    with open_fetching(issuer, tmp_path) as restarted:
        assert read(restarted, key_pair) == 401


def test_many_bad_keys_are_logged_in_one_line(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.publish(jwk(key_pair), *({"kty": "RSA"} for _ in range(1000)))

    with open_fetching(issuer, tmp_path) as course:
        assert read(course, key_pair) == 200

    (line,) = [message for _, _, message in caplog.record_tuples if "skipped" in message]
    assert line.startswith("skipped 1000 of the 1001 keys in the set: keys[1] is damaged; keys[2] is damaged")
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "is_trusted", "status"),
    [
        pytest.param(x509.IPAddress(ip_address("127.0.0.1")), True, 200, id="trusted"),
        pytest.param(x509.IPAddress(ip_address("127.0.0.1")), False, 503, id="untrusted"),
        pytest.param(x509.DNSName("login.example.com"), True, 503, id="for another host"),
    ],
)
def test_certificate_of_the_issuer_is_verified(
    name: x509.GeneralName,
    is_trusted: bool,
    status: int,
    key_pair: KeyPair,
    other_key_pair: KeyPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_certificate(tmp_path, name)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with serve_issuer(tmp_path) as issuer:
        write_key_copy(tmp_path, issuer.url, key_pair.private_key.public_key())
        issuer.publish(jwk(key_pair), jwk(other_key_pair))

        with open_fetching(issuer, tmp_path) as course:
            assert read(course, key_pair) == 200
            assert read(course, other_key_pair) == status


def test_unknown_kid_triggers_an_immediate_fetch(
    issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    write_key_copy(tmp_path, issuer.url, key_pair.private_key.public_key())
    good = {"started_at": time.time() - 100, "is_good": True, "problem": None, "good_at": time.time() - 100}
    copy_path(tmp_path, "keys", setting=issuer.url).with_suffix(".json.attempt").write_text(json.dumps(good))
    issuer.publish(jwk(key_pair), jwk(other_key_pair))

    with open_fetching(issuer, tmp_path, jwks_cooldown=100) as course:
        assert read(course, key_pair) == 200
        assert issuer.requests == [], "the copy is recent enough"
        assert read(course, other_key_pair) == 200, "the request waits for the fetch"
        assert issuer.requests == ["/jwks.json"]


@pytest.mark.parametrize("name", ["JWT_PUBLIC_KEY", "JWT_PUBLIC_KEY_FILE"])
def test_url_and_a_configured_public_key_are_mutually_exclusive(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv(name, "x")
    monkeypatch.setenv("JWKS_URL", "https://login.example.com/.well-known/jwks.json")

    with pytest.raises(SystemExit):
        course_app.create_app()

    assert f"JWKS_URL and {name} are both set: keep one of them" in capsys.readouterr().err


def remove_folder(folder: Path) -> None:
    """Remove the folder and its parent: if only the folder is missing, it is created again."""
    shutil.rmtree(folder.parent)


def replace_folder(folder: Path) -> None:
    """Replace the folder with a file, because root may write to any folder."""
    shutil.rmtree(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize("damage", [remove_folder, replace_folder])
@pytest.mark.parametrize("moment", ["before", "while running"])
def test_service_works_without_a_writable_folder_for_copies(
    moment: str,
    damage: Callable[[Path], None],
    issuer: Issuer,
    key_pair: KeyPair,
    other_key_pair: KeyPair,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer.publish(jwk(key_pair), jwk(other_key_pair))
    copies = tmp_path / "service" / "copies"
    copies.mkdir(parents=True)
    settings = {"copies": copies, "jwks_refresh": 1, "jwks_cooldown": 1}
    with open_fetching(issuer, tmp_path, **settings) as course:
        if moment == "while running":
            assert read(course, key_pair) == 200
        damage(copies)

        assert [read(course, pair) for pair in (key_pair, other_key_pair)] == [200, 200]
        issuer.publish(jwk(key_pair))
        wait_for(lambda: read(course, other_key_pair) == 401)

        assert read(course, key_pair) == 200
        assert course.get("/readyz").json == {"status": "ok"}
    lines = [message for _, _, message in caplog.record_tuples if "cannot write" in message]
    assert len(lines) == 1
    assert "make the folder in COPIES writable for this service" in lines[0]


def test_copy_is_written_once_its_folder_can_be_created(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    issuer.publish(jwk(key_pair))
    copy = copy_path(tmp_path / "later" / "copies", "keys", setting=issuer.url)
    with open_fetching(issuer, tmp_path, copies=copy.parent, jwks_refresh=1, jwks_cooldown=1) as course:
        assert read(course, key_pair) == 200
        copy.parent.parent.mkdir()

        wait_for(copy.exists)


def test_good_requests_are_answered_while_the_issuer_hangs(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    """Six clients that invent key IDs used to occupy all four threads, which waited for the issuer."""
    issuer.publish(jwk(key_pair))
    environment = {
        "JWKS_URL": issuer.url,
        "COPIES": str(tmp_path),
        "JWKS_COOLDOWN": "1",
        "STATUS_CLAIM": "ignored",
        "COURSE_DATABASE_URL": f"sqlite:///{tmp_path}/course.db",
    }
    run_flask("wsgi_course", "db upgrade", environment, tmp_path)
    token = Forger(key_pair.private_key, key_pair.kid).sign()
    with listen() as listener, serve("wsgi_course", listener, environment, tmp_path) as course:
        assert call(f"{course.url}/courses", token)[0] == 200
        issuer.answers.clear()
        good, stopping = list[float](), threading.Event()

        def forge() -> None:
            while not stopping.is_set():
                flood(course.url, 1)
                stopping.wait(0.1)

        with ThreadPoolExecutor(6) as pool:
            jobs = [pool.submit(forge) for _ in range(6)]
            try:
                wait_for(lambda: len(issuer.requests) >= 2)
                fetches = len(issuer.requests)
                while len(good) < 40 or len(issuer.requests) < fetches + 3:
                    started = time.monotonic()
                    assert call(f"{course.url}/courses", token)[0] == 200
                    good.append(time.monotonic() - started)
                    time.sleep(0.05)
            finally:
                stopping.set()
            assert [job.result(60) for job in jobs] == [None] * 6
    # A fetch takes three seconds, and a request that waits for it gets its response at the end.
    assert sum(seconds > 1 for seconds in good) < len(good) / 20


def test_invented_kids_cause_no_more_fetches_than_the_cooldown_allows(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    """10,000 requests to two workers, each of which names a key that does not exist."""
    issuer.publish(jwk(key_pair))
    cooldown = 2
    with listen() as listener:
        environment = {
            "JWKS_URL": issuer.url,
            "COPIES": str(tmp_path),
            "JWKS_COOLDOWN": str(cooldown),
            "JWKS_REFRESH": "1000",
            "STATUS_CLAIM": "ignored",
            "COURSE_DATABASE_URL": f"sqlite:///{tmp_path}/course.db",
        }
        run_flask("wsgi_course", "db upgrade", environment, tmp_path)
        run_flask("wsgi_course", "demo-data", environment, tmp_path)
        with serve("wsgi_course", listener, environment, tmp_path) as course:
            before = len(issuer.requests)
            started = time.monotonic()
            with ThreadPoolExecutor(4) as pool:
                statuses = [
                    status for batch in pool.map(flood, [course.url] * 4, [2_500] * 4) for status in batch
                ]
            elapsed = time.monotonic() - started
            fetches = len(issuer.requests) - before
            token = Forger(key_pair.private_key, key_pair.kid).sign()
            assert call(f"{course.url}/courses", token)[0] == 200
    assert set(statuses) <= {401, 503}, "503 while a fetch is under way"
    assert statuses.count(401) > 5_000
    assert 1 <= fetches <= 1 + elapsed / cooldown


def flood(url: str, count: int) -> list[int]:
    """Send requests over one connection, with tokens that name keys that do not exist."""
    signature = "A" * 342
    payload = encode(b"{}")
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    statuses = []
    for _ in range(count):
        header = encode(json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": uuid.uuid4().hex}).encode())
        connection.request("GET", "/courses", headers=bearer(f"{header}.{payload}.{signature}"))
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    return statuses
