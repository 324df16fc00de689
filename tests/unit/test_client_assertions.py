"""Clients prove who they are by JWTs that they sign (`private_key_jwt`, RFC 7523 section 3)."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from flask.testing import FlaskClient

from auth_app.oauth import client_assertions
from tests.assertions import add_signing_client, assertion_form, jwks_of, sign_assertion
from tests.conftest import add_client, both_databases, run_command
from tests.forger import ABSENT, ISSUER, Forger, hs256, ps256
from tests.issuers import Issuer, serve_issuer
from tests.secrets import remember

FORM = {"grant_type": "client_credentials"}
Rows = dict[str, dict[str, Any]]


@pytest.fixture
def signer(auth: FlaskClient, attacker: Forger, tmp_path: Path) -> Forger:
    """The key of the client `signer`, which is registered."""
    add_signing_client(auth, attacker, tmp_path, "--grant", "client_credentials")
    return attacker


def ask(auth: FlaskClient, form: dict[str, str]) -> int:
    remember({"token": form.get("client_assertion")})
    return auth.post("/token", data=FORM | form).status_code


GOOD: Rows = {
    "as it should be": {},
    "audience in a list": {"aud": [ISSUER]},
    "audience is the token endpoint": {"aud": f"{ISSUER}/token"},
    "no iat": {"iat": None},
    "nbf": {"nbf": int(time.time())},
    "another claim": {"colour": "blue"},
}


@both_databases
@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_good_assertion_is_accepted_once(changes: dict[str, Any], auth: FlaskClient, signer: Forger) -> None:
    form = assertion_form(signer, **changes)

    assert [ask(auth, form) for _ in range(2)] == [200, 401]


def test_assertion_without_a_kid_is_accepted_if_there_is_one_key(auth: FlaskClient, signer: Forger) -> None:
    assert ask(auth, assertion_form(signer, {"kid": ABSENT})) == 200


BAD: Rows = {
    "iss missing": {"iss": None},
    "iss of another": {"iss": "other"},
    "sub missing": {"sub": None},
    "sub of another": {"sub": "reports"},
    "sub of nobody": {"sub": "nobody"},
    "sub a list": {"sub": ["signer"]},
    "aud missing": {"aud": None},
    "aud of another server": {"aud": "https://other.example.com"},
    "aud of a resource server": {"aud": "http://127.0.0.1:8082"},
    "aud with a slash": {"aud": f"{ISSUER}/"},
    "aud of another endpoint": {"aud": f"{ISSUER}/revoke"},
    "aud of two servers": {"aud": [ISSUER, "https://other.example.com"]},
    "exp missing": {"exp": None},
    "exp past": {"exp": int(time.time()) - 11},
    "exp too far": {"exp": int(time.time()) + 3700},
    "exp a text": {"exp": "9999999999"},
    "exp true": {"exp": True},
    "iat in the future": {"iat": int(time.time()) + 100},
    "iat a text": {"iat": "0"},
    "nbf in the future": {"nbf": int(time.time()) + 100},
    "jti missing": {"jti": None},
    "jti empty": {"jti": ""},
    "jti a number": {"jti": 1},
    "jti too long": {"jti": "x" * 1025},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_assertion_that_says_something_wrong_is_refused(
    changes: dict[str, Any], auth: FlaskClient, signer: Forger
) -> None:
    add_client(auth)

    assert ask(auth, assertion_form(signer, **changes)) == 401


HEADERS: Rows = {
    "alg none": {"alg": "none"},
    "alg RS512": {"alg": "RS512"},
    "alg missing": {"alg": ABSENT},
    "crit": {"crit": ["exp"]},
    "kid unknown": {"kid": "other"},
    "kid empty": {"kid": ""},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_assertion_with_a_wrong_header_is_refused(
    header: dict[str, Any], auth: FlaskClient, signer: Forger
) -> None:
    assert ask(auth, assertion_form(signer, header)) == 401


def test_assertion_that_another_key_has_signed_is_refused(
    auth: FlaskClient, signer: Forger, forger: Forger
) -> None:
    claims = {"iss": "signer", "sub": "signer", "aud": ISSUER, "exp": int(time.time()) + 60, "jti": "x"}
    payload, header = json.dumps(claims).encode(), {"typ": "JWT", "kid": signer.kid}
    public = json.dumps(jwks_of(signer)).encode()
    bad = {
        "the issuer's": forger.sign_payload(payload, header),
        "HS256 by the public key": signer.sign_payload(payload, header | {"alg": "HS256"}, hs256(public)),
        "PS256": signer.sign_payload(payload, header | {"alg": "PS256"}, ps256(signer.key)),
        "none": signer.sign_payload(payload, header | {"alg": "none"}, lambda _: b""),
    }

    for name, assertion in bad.items():
        form = {"client_assertion_type": client_assertions.ASSERTION_TYPE, "client_assertion": assertion}
        assert ask(auth, form) == 401, name


@pytest.mark.parametrize(
    "changes",
    [
        {"client_assertion_type": None},
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion": None},
        {"client_assertion": "x"},
        {"client_assertion": "a.b.c"},
        {"client_id": "reports"},
        {"client_id": "first-party"},
    ],
    ids=str,
)
def test_request_that_does_not_fit_the_assertion_is_refused(
    changes: dict[str, Any], auth: FlaskClient, signer: Forger
) -> None:
    add_client(auth)
    form = assertion_form(signer) | changes

    assert ask(auth, {name: value for name, value in form.items() if value is not None}) == 401


def test_client_with_a_secret_cannot_sign_instead(auth: FlaskClient, attacker: Forger) -> None:
    add_client(auth, "signer")

    assert ask(auth, assertion_form(attacker)) == 401


def test_client_that_signs_has_no_secret(auth: FlaskClient, signer: Forger) -> None:
    for secret in ("", "x"):
        assert auth.post("/token", data=FORM, auth=("signer", secret)).status_code == 401
    assert "has no secret" in run_command(auth, "clients", "set-secret", "signer").stderr


@both_databases
def test_of_two_requests_at_once_one_uses_an_assertion(auth: FlaskClient, signer: Forger) -> None:
    form, barrier = assertion_form(signer), Barrier(4)

    def use(_: int) -> int:
        client = auth.application.test_client()
        barrier.wait(10)
        return client.post("/token", data=FORM | form).status_code

    with ThreadPoolExecutor() as pool:
        statuses = list(pool.map(use, range(4)))

    assert sorted(statuses) == [200, 401, 401, 401]


def test_assertion_is_used_up_whatever_comes_of_the_request(auth: FlaskClient, signer: Forger) -> None:
    form = assertion_form(signer)
    assert auth.post("/token", data=FORM | form | {"scope": "users:manage"}).status_code == 400

    assert ask(auth, form) == 401


def test_two_clients_may_use_the_same_jti(auth: FlaskClient, signer: Forger, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(jwks_of(signer)))
    run_command(auth, "clients", "add", "other", "--jwks", str(tmp_path / "other.json"))

    assert ask(auth, assertion_form(signer, jti="same")) == 200
    assert ask(auth, assertion_form(signer, jti="same", iss="other", sub="other")) == 200


def test_assertion_works_at_every_endpoint_where_clients_prove_themselves(
    auth: FlaskClient, signer: Forger
) -> None:
    for path in ("/revoke", "/introspect"):
        for audience in (ISSUER, f"{ISSUER}{path}"):
            form = {"token": "x"} | assertion_form(signer, aud=audience)
            assert auth.post(path, data=form).status_code == 200, (path, audience)


@pytest.fixture
def key_server() -> Iterator[Issuer]:
    with serve_issuer() as server:
        yield server


@pytest.fixture
def remote(auth: FlaskClient, attacker: Forger, key_server: Issuer) -> Forger:
    """The key of the client `signer`, which publishes it at its own address."""
    key_server.publish(*jwks_of(attacker)["keys"])
    result = run_command(auth, "clients", "add", "signer", "--jwks-uri", key_server.url)
    assert result.exit_code == 0, result.output
    return attacker


def test_keys_at_an_address_are_fetched_once(auth: FlaskClient, remote: Forger, key_server: Issuer) -> None:
    assert [ask(auth, assertion_form(remote)) for _ in range(3)] == [200] * 3
    assert len(key_server.requests) == 1


def test_unknown_keys_cause_one_fetch_and_no_more(
    auth: FlaskClient, remote: Forger, key_server: Issuer
) -> None:
    assert ask(auth, assertion_form(remote)) == 200

    for number in range(5):
        assert ask(auth, assertion_form(remote, {"kid": f"unknown {number}"})) == 401

    assert len(key_server.requests) == 1, "the one before was a moment ago"


@pytest.mark.slow
def test_new_key_is_fetched_when_an_assertion_names_it(
    auth: FlaskClient, remote: Forger, forger: Forger, key_server: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_assertions, "_COOLDOWN", 0)
    assert ask(auth, assertion_form(remote)) == 200
    new = replace(forger, kid="new")

    key_server.publish(*jwks_of(new)["keys"])

    assert ask(auth, assertion_form(new)) == 200
    assert ask(auth, assertion_form(remote)) == 401, "its key was taken away"


def test_known_keys_count_while_their_server_is_down(
    auth: FlaskClient, remote: Forger, key_server: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(auth, assertion_form(remote)) == 200
    key_server.status = 500
    monkeypatch.setattr(client_assertions, "_FRESH_FOR", 0)

    assert ask(auth, assertion_form(remote)) == 200
    assert len(key_server.requests) == 2

    monkeypatch.setattr(client_assertions, "_MAXIMUM_AGE", 0)
    assert [ask(auth, assertion_form(remote)) for _ in range(2)] == [401, 401], "but not for ever"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "EC"}]}', b"x" * 70_000])
def test_address_without_a_usable_key_lets_nobody_in(
    body: bytes, auth: FlaskClient, remote: Forger, key_server: Issuer
) -> None:
    key_server.body = body

    assert ask(auth, assertion_form(remote)) == 401


def test_refused_assertion_is_recorded_without_itself(
    auth: FlaskClient, signer: Forger, caplog: pytest.LogCaptureFixture
) -> None:
    assertion = sign_assertion(signer, aud="https://other.example.com")

    ask(auth, {"client_assertion_type": client_assertions.ASSERTION_TYPE, "client_assertion": assertion})

    (event,) = [json.loads(line) for line in caplog.messages if "client_refused" in line]
    assert (event["client"], event["reason"]) == ("signer", "aud")
