"""Clients authenticate with signed assertions: every check has a row (RFC 7523 section 3)."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import ClientAssertion
from auth_app.oauth.client_assertions import ASSERTION_TYPE, MAXIMUM_LIFETIME
from flask_resource_server.tokens.checks import LEEWAY
from tests.assertions import add_signing_client, assertion_form, jwks_of, sign_assertion
from tests.conftest import KeyPair, add_client, both_databases, run_command
from tests.forger import ABSENT, COURSES, ISSUER, Forger, Signer, hs256, ps256, rs
from tests.forger import SHA512_DIGEST as SHA512
from tests.issuers import Issuer, serve_issuer

GRANT = {"grant_type": "client_credentials"}
OPTIONS = ("--grant", "client_credentials", "--scope", "courses:read")
KID = "2026-11"


@pytest.fixture
def signer(other_key_pair: KeyPair) -> Forger:
    """Signs with a client's key, which is not one of the issuer's."""
    return Forger(other_key_pair.private_key, KID)


@pytest.fixture
def client(auth: FlaskClient, signer: Forger, tmp_path: Path) -> FlaskClient:
    """The authorization server, where the client `signer` is registered."""
    add_signing_client(auth, signer, tmp_path, *OPTIONS)
    return auth


def ask(client: FlaskClient, form: dict[str, str], path: str = "/token", **changes: Any) -> TestResponse:
    given = {name: value for name, value in {**GRANT, **form, **changes}.items() if value is not None}
    return client.post(path, data=given)


def check_refused(response: TestResponse) -> None:
    assert (response.status_code, response.json and response.json["error"]) == (401, "invalid_client")


def form_of(assertion: str) -> dict[str, str]:
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}


def in_(seconds: float) -> timedelta:
    """Stand for a time relative to the moment at which the test runs."""
    return timedelta(seconds=seconds)


def resolve(changes: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {
        name: now + value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }


Changes = dict[str, Any]
GOOD: dict[str, tuple[Changes, Changes]] = {
    "unchanged": ({}, {}),
    "aud of the token endpoint": ({}, {"aud": f"{ISSUER}/token"}),
    "aud that lists only the issuer": ({}, {"aud": [ISSUER]}),
    "without iat": ({}, {"iat": None}),
    "with nbf": ({}, {"nbf": in_(0)}),
    "fractional times": ({}, {"exp": in_(600.5), "iat": in_(-0.5)}),
    "a clock slightly ahead": ({}, {"iat": in_(LEEWAY - 2), "nbf": in_(LEEWAY - 2)}),
    "without typ": ({"typ": ABSENT}, {}),
    "without kid, with a single key": ({"kid": ABSENT}, {}),
    "other claims": ({}, {"extra": [{}]}),
}
# By name: the changes to the header and to the claims of a good assertion.
BAD: dict[str, tuple[Changes, Changes]] = {
    "no iss": ({}, {"iss": None}),
    "other iss": ({}, {"iss": "other"}),
    "iss that is a list": ({}, {"iss": ["signer"]}),
    "no sub": ({}, {"sub": None}),
    "unknown sub": ({}, {"iss": "nobody", "sub": "nobody"}),
    "sub that is a list": ({}, {"sub": ["signer"]}),
    "sub with a NUL": ({}, {"iss": "signer\0", "sub": "signer\0"}),
    "sub of a client with a secret": ({}, {"iss": "reports", "sub": "reports"}),
    "sub of a public client": ({}, {"iss": "first-party", "sub": "first-party"}),
    "no aud": ({}, {"aud": None}),
    "empty aud": ({}, {"aud": []}),
    "aud that lists two servers": ({}, {"aud": [ISSUER, "https://other.example.com"]}),
    "other aud": ({}, {"aud": "https://other.example.com"}),
    "aud of a resource server": ({}, {"aud": COURSES}),
    "aud of another endpoint": ({}, {"aud": f"{ISSUER}/introspect"}),
    "aud with a slash": ({}, {"aud": f"{ISSUER}/"}),
    "aud that is an object": ({}, {"aud": {ISSUER: ISSUER}}),
    "aud that is a list of lists": ({}, {"aud": [[ISSUER]]}),
    "aud that is a number": ({}, {"aud": 1}),
    "no exp": ({}, {"exp": None}),
    "exp in the past": ({}, {"exp": in_(-(LEEWAY + 1))}),
    "exp too far in the future": ({}, {"exp": in_(MAXIMUM_LIFETIME + 600)}),
    "exp that is a string": ({}, {"exp": "1"}),
    "exp that is true": ({}, {"exp": True}),
    "exp of 400 digits": ({}, {"exp": 10**400}),
    "iat in the future": ({}, {"iat": in_(600)}),
    "iat that is a string": ({}, {"iat": "now"}),
    "nbf in the future": ({}, {"nbf": in_(600)}),
    "no jti": ({}, {"jti": None}),
    "empty jti": ({}, {"jti": ""}),
    "jti that is a number": ({}, {"jti": 1}),
    "long jti": ({}, {"jti": "x" * 1025}),
    "alg none": ({"alg": "none"}, {}),
    "no alg": ({"alg": ABSENT}, {}),
    "another alg": ({"alg": "RS512"}, {}),
    "crit": ({"crit": ["exp"]}, {}),
    "unknown kid": ({"kid": "other"}, {}),
    "kid that is a list": ({"kid": [KID]}, {}),
    "kid that is a number": ({"kid": 1}, {}),
    "kid that is null": ({"kid": None}, {}),
    "empty kid": ({"kid": ""}, {}),
}


@pytest.mark.parametrize(("header", "changes"), GOOD.values(), ids=GOOD)
@both_databases
def test_good_assertion_is_accepted_once(
    header: Changes, changes: Changes, client: FlaskClient, signer: Forger
) -> None:
    form = assertion_form(signer, header, **resolve(changes))

    response = ask(client, form)

    assert response.status_code == 200, response.text
    check_refused(ask(client, form))


@pytest.mark.parametrize(("header", "changes"), BAD.values(), ids=BAD)
@both_databases
def test_bad_assertion_is_refused_and_not_remembered(
    header: Changes, changes: Changes, client: FlaskClient, signer: Forger
) -> None:
    add_client(client)

    check_refused(ask(client, assertion_form(signer, header, **resolve(changes))))

    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        assert session.scalars(sa.select(ClientAssertion)).all() == []


def test_signature_with_another_key_or_algorithm_is_refused(
    client: FlaskClient, signer: Forger, forger: Forger
) -> None:
    public = json.dumps(jwks_of(signer)).encode()
    payload = json.dumps(
        {"iss": "signer", "sub": "signer", "aud": ISSUER, "exp": time.time() + 600, "jti": "x"}
    )
    signatures: list[tuple[str, Signer]] = [
        ("RS256", rs(forger.key)),  # the issuer's own
        ("RS256", ps256(signer.key)),
        ("RS256", rs(signer.key, SHA512)),
        ("RS256", lambda _: b"x" * 256),
        ("PS256", ps256(signer.key)),
        ("RS512", rs(signer.key, SHA512)),
        ("HS256", hs256(public)),
        ("none", lambda _: b""),
        ("none", rs(signer.key)),
    ]
    for algorithm, signature in signatures:
        assertion = signer.sign_payload(payload.encode(), {"alg": algorithm}, signature)
        check_refused(ask(client, form_of(assertion)))
    assert ask(client, form_of(signer.sign_payload(payload.encode()))).status_code == 200, "a control"


TEXTS = ["x", "a.b.c", "..", "e30.e30.e30", "e30.W10.e30", "a.b.c.d", "a.b.c="]


@pytest.mark.parametrize("text", TEXTS)
def test_malformed_assertion_is_refused(text: str, client: FlaskClient) -> None:
    check_refused(ask(client, form_of(text)))


@both_databases
def test_assertion_with_a_repeated_claim_is_refused(client: FlaskClient, signer: Forger) -> None:
    claims = {"iss": "signer", "sub": "signer", "aud": ISSUER, "exp": time.time() + 600, "jti": "x"}
    payload = json.dumps(claims)[:-1] + ', "jti": "y"}'

    check_refused(ask(client, form_of(signer.sign_payload(payload.encode()))))


def test_clients_access_token_is_not_accepted_as_an_assertion(client: FlaskClient, signer: Forger) -> None:
    token = ask(client, assertion_form(signer)).get_json()["access_token"]

    check_refused(ask(client, form_of(token)))


# The parameters sent with it


INCONSISTENT: dict[str, dict[str, Any]] = {
    "no type": {"client_assertion_type": None},
    "other type": {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
    "type without an assertion": {"client_assertion": None},
    "client_id of another client": {"client_id": "first-party"},
    "unknown client_id": {"client_id": "nobody"},
}


@pytest.mark.parametrize("changes", INCONSISTENT.values(), ids=INCONSISTENT)
@pytest.mark.parametrize("path", ["/token", "/revoke", "/introspect"])
def test_inconsistent_assertion_type_or_client_id_is_refused(
    path: str, changes: dict[str, Any], client: FlaskClient, signer: Forger
) -> None:
    check_refused(ask(client, assertion_form(signer), path, token="x", **changes))


def test_own_client_id_may_accompany_the_assertion(client: FlaskClient, signer: Forger) -> None:
    assert ask(client, assertion_form(signer), client_id="signer").status_code == 200


@pytest.mark.parametrize("path", ["/token", "/revoke", "/introspect"])
def test_each_endpoint_accepts_its_own_url_as_audience(
    path: str, client: FlaskClient, signer: Forger
) -> None:
    for audience in (ISSUER, f"{ISSUER}/token", f"{ISSUER}{path}"):
        response = ask(client, assertion_form(signer, aud=audience), path, token="x")

        assert response.status_code == 200


def test_client_with_keys_cannot_use_a_secret(client: FlaskClient) -> None:
    for secret in ("", "x"):
        check_refused(client.post("/token", data=GRANT, auth=("signer", secret)))
        check_refused(ask(client, {}, client_id="signer", client_secret=secret))
    assert run_command(client, "clients", "set-secret", "signer").exit_code == 1


@both_databases
def test_client_with_a_secret_cannot_use_assertions(client: FlaskClient, signer: Forger) -> None:
    add_client(client)

    check_refused(ask(client, assertion_form(signer, iss="reports", sub="reports")))


def test_removed_client_is_unknown(client: FlaskClient, signer: Forger) -> None:
    run_command(client, "clients", "remove", "signer")

    check_refused(ask(client, assertion_form(signer)))


# One use only


@both_databases
def test_assertion_is_used_up_even_if_the_request_fails(client: FlaskClient, signer: Forger) -> None:
    form = assertion_form(signer)

    assert ask(client, form, scope="users:manage").status_code == 400
    check_refused(ask(client, form))


@both_databases
def test_jti_must_be_unique_per_client(client: FlaskClient, signer: Forger, tmp_path: Path) -> None:
    assert ask(client, assertion_form(signer, jti="one")).status_code == 200
    check_refused(ask(client, assertion_form(signer, jti="one", exp=int(time.time()) + 900)))
    run_command(client, "clients", "add", "second", "--jwks", str(tmp_path / "jwks.json"), *OPTIONS)

    response = ask(client, assertion_form(signer, jti="one", iss="second", sub="second"))

    assert response.status_code == 200


@both_databases
def test_only_one_of_many_simultaneous_uses_succeeds(client: FlaskClient, signer: Forger) -> None:
    barrier = Barrier(6)
    for _ in range(3):
        form = assertion_form(signer)

        def use(_: int, form: dict[str, str] = form) -> int:
            barrier.wait()
            response = client.application.test_client().post("/token", data=GRANT | form)
            return response.status_code

        with ThreadPoolExecutor(6) as pool:
            assert sorted(pool.map(use, range(6))) == [200] + [401] * 5


@both_databases
def test_used_assertions_are_deleted_once_they_have_expired(client: FlaskClient, signer: Forger) -> None:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        rows = [
            {"jti_hash": name, "expires_at": int(time.time()) - seconds}
            for name, seconds in {"old": 2 * LEEWAY + 5, "just expired": LEEWAY}.items()
        ]
        session.execute(sa.insert(ClientAssertion), rows)
        session.commit()

    assert ask(client, assertion_form(signer)).status_code == 200

    with client.application.app_context():
        kept = set(session.scalars(sa.select(ClientAssertion.jti_hash)))
    assert "old" not in kept
    assert "just expired" in kept, "it would still be accepted"
    assert len(kept) == 2


# Several keys, and keys fetched from a URL


def test_key_is_selected_by_kid_among_several(
    auth: FlaskClient, signer: Forger, forger: Forger, tmp_path: Path
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [*jwks_of(signer)["keys"], *jwks_of(forger)["keys"]]}))
    run_command(auth, "clients", "add", "signer", "--jwks", str(file), *OPTIONS)

    for one in (signer, forger):
        assert ask(auth, assertion_form(one)).status_code == 200
    check_refused(ask(auth, assertion_form(signer, {"kid": forger.kid})))
    check_refused(ask(auth, assertion_form(signer, {"kid": ABSENT})))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as served:
        yield served


@pytest.fixture
def remote(auth: FlaskClient, signer: Forger, issuer: Issuer) -> FlaskClient:
    """The authorization server, where `signer` is registered with the URL of its keys."""
    issuer.publish(*jwks_of(signer)["keys"])
    result = run_command(auth, "clients", "add", "signer", "--jwks-uri", issuer.url, *OPTIONS)
    assert result.exit_code == 0, result.output
    return auth


def let_pass(client: FlaskClient, seconds: float) -> None:
    """Make the last fetch older by some seconds."""
    for keys in client.application.extensions["client_keys"].values():
        keys._fetched_at -= seconds


def status(client: FlaskClient, signer: Forger) -> int:
    return ask(client, assertion_form(signer)).status_code


def test_keys_are_fetched_on_first_use_and_cached(
    remote: FlaskClient, signer: Forger, issuer: Issuer
) -> None:
    assert issuer.requests == []

    assert [status(remote, signer) for _ in range(3)] == [200] * 3

    assert len(issuer.requests) == 1
    let_pass(remote, 301)
    assert status(remote, signer) == 200
    assert len(issuer.requests) == 2


def test_new_key_is_accepted_at_once_and_a_removed_one_refused(
    remote: FlaskClient, signer: Forger, issuer: Issuer, forger: Forger
) -> None:
    assert status(remote, signer) == 200
    let_pass(remote, 11)
    issuer.publish(*jwks_of(forger)["keys"])

    assert status(remote, forger) == 200
    assert len(issuer.requests) == 2
    check_refused(ask(remote, assertion_form(signer)))


def test_made_up_kids_do_not_each_cause_a_fetch(remote: FlaskClient, signer: Forger, issuer: Issuer) -> None:
    assert status(remote, signer) == 200

    for number in range(10):
        check_refused(ask(remote, assertion_form(signer, {"kid": f"made up {number}"})))

    assert len(issuer.requests) == 1, "within ten seconds"
    let_pass(remote, 11)
    for number in range(10):
        check_refused(ask(remote, assertion_form(signer, {"kid": f"made up {number}"})))
    assert len(issuer.requests) == 2


@pytest.mark.parametrize("kid", [[KID], {"a": 1}, 1, None, "", True])
def test_kid_that_is_not_a_nonempty_string_is_refused(
    kid: object, remote: FlaskClient, signer: Forger
) -> None:
    check_refused(ask(remote, assertion_form(signer, {"kid": kid})))


FAILURES: dict[str, dict[str, Any]] = {
    "server error": {"status": 500},
    "not found": {"status": 404},
    "redirect": {"status": 302},
    "slow response": {"pace": 0.5},
    "too large": {"body": b" " * 70_000},
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_known_keys_stay_in_use_while_a_fetch_fails(
    failure: dict[str, Any], remote: FlaskClient, signer: Forger, issuer: Issuer
) -> None:
    assert status(remote, signer) == 200
    vars(issuer).update(failure)
    let_pass(remote, 301)
    began = time.monotonic()

    assert status(remote, signer) == 200
    assert time.monotonic() - began < 5
    assert status(remote, signer) == 200
    assert len(issuer.requests) == 2, "and the fetch is not repeated at once"


def test_known_keys_stay_in_use_while_the_server_is_down(auth: FlaskClient, signer: Forger) -> None:
    with serve_issuer() as issuer:
        issuer.publish(*jwks_of(signer)["keys"])
        run_command(auth, "clients", "add", "signer", "--jwks-uri", issuer.url, *OPTIONS)
        assert status(auth, signer) == 200
    let_pass(auth, 301)

    assert status(auth, signer) == 200


def test_client_is_accepted_once_its_keys_can_be_fetched(
    remote: FlaskClient, signer: Forger, issuer: Issuer
) -> None:
    issuer.status = 503
    check_refused(ask(remote, assertion_form(signer)))
    issuer.status = 200
    let_pass(remote, 11)

    assert status(remote, signer) == 200


def test_empty_key_set_refuses_every_assertion(remote: FlaskClient, signer: Forger, issuer: Issuer) -> None:
    assert status(remote, signer) == 200
    issuer.publish()
    let_pass(remote, 301)

    check_refused(ask(remote, assertion_form(signer)))


def test_simultaneous_requests_share_one_fetch_and_all_succeed(
    remote: FlaskClient, signer: Forger, issuer: Issuer
) -> None:
    forms, barrier = [assertion_form(signer) for _ in range(4)], Barrier(4)

    def use(form: dict[str, str]) -> int:
        barrier.wait()
        return remote.application.test_client().post("/token", data=GRANT | form).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, forms)) == [200] * 4
    assert len(issuer.requests) == 1


def test_keys_can_be_changed_by_command(
    client: FlaskClient, signer: Forger, forger: Forger, tmp_path: Path, issuer: Issuer
) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps(jwks_of(forger)))
    assert run_command(client, "clients", "set", "signer", "--jwks", str(file)).exit_code == 0
    assert (status(client, forger), status(client, signer)) == (200, 401)

    issuer.publish(*jwks_of(signer)["keys"])
    assert run_command(client, "clients", "set", "signer", "--jwks-uri", issuer.url).exit_code == 0
    assert (status(client, forger), status(client, signer)) == (401, 200)


def test_assertion_is_not_logged(
    client: FlaskClient, signer: Forger, caplog: pytest.LogCaptureFixture
) -> None:
    assertion = sign_assertion(signer, aud="x")
    check_refused(ask(client, form_of(assertion)))

    assert assertion not in caplog.text
    assert '"reason": "aud"' in caplog.text
