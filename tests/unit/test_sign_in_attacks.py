"""Attacks that worked against the first version of the sign-in, and fail now."""

import contextlib
import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from flask.testing import FlaskClient

from auth_app.models import BrowserSession
from auth_app.oauth.outgoing import _is_allowed, post_form
from tests.assertions import add_signing_client, assertion_form, jwks_of
from tests.certificates import make_certificate
from tests.conftest import (
    both_databases,
    change_row,
    open_auth,
    read_claims,
    run_command,
)
from tests.forger import Forger
from tests.sign_in import (
    Application,
    add_application,
    answer_of,
    fields_of,
    get_code,
    get_tokens,
    new_browser,
    refreshes,
    sign_in,
    submit_sign_in,
)

HOURS_AGO = {"last_used_at": int(time.time()) - 13 * 3600}


@pytest.fixture
def applications(auth: FlaskClient) -> list[Application]:
    return [add_application(auth, name, "--refresh-token", "always") for name in ("first", "second")]


@both_databases
@pytest.mark.parametrize("has_hint", [True, False], ids=["with a hint", "without a hint"])
def test_signing_out_ends_the_sessions_of_an_idle_browser(
    has_hint: bool, auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    tokens = [get_tokens(auth, application) for application in applications]
    change_row(auth, sa.update(BrowserSession).values(**HOURS_AGO))

    if has_hint:
        auth.get(f"/logout?id_token_hint={tokens[0]['id_token']}")
    else:
        auth.post("/logout", data=fields_of(auth.get("/logout")))

    pairs = zip(applications, tokens, strict=True)
    assert [refreshes(auth, application, one) for application, one in pairs] == [False, False]


@both_databases
def test_id_token_hint_ends_the_sessions_of_a_deleted_browser_session(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    tokens = [get_tokens(auth, application) for application in applications]
    change_row(auth, sa.delete(BrowserSession))

    new_browser(auth).get(f"/logout?id_token_hint={tokens[0]['id_token']}")

    assert not refreshes(auth, applications[1], tokens[1])


@both_databases
def test_id_token_hint_in_another_browser_ends_only_its_own_session(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    tokens = [get_tokens(auth, application) for application in applications]

    new_browser(auth).get(f"/logout?id_token_hint={tokens[0]['id_token']}")

    pairs = zip(applications, tokens, strict=True)
    assert [refreshes(auth, application, one) for application, one in pairs] == [False, True]
    assert answer_of(auth.get(applications[1].url(prompt="none")))["code"]


@both_databases
def test_signing_out_ends_sessions_from_before_an_idle_timeout(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    tokens = get_tokens(auth, applications[0])
    change_row(auth, sa.update(BrowserSession).values(**HOURS_AGO))
    sign_in(auth)

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not refreshes(auth, applications[0], tokens)


def test_browser_session_evicted_by_newer_ones_ends_its_sessions(new_database: Any, key_pair: Any) -> None:
    with open_auth(new_database(), key_pair, sessions_per_user=2) as auth:
        application = add_application(auth, "app", "--refresh-token", "always")
        sign_in(auth)
        tokens = get_tokens(auth, application)
        change_row(auth, sa.update(BrowserSession).values(last_used_at=int(time.time()) - 100))

        for _ in range(2):
            sign_in(new_browser(auth))

        assert not refreshes(auth, application, tokens)


@both_databases
def test_signing_out_everywhere_else_keeps_the_sessions_of_this_browser(
    auth: FlaskClient, applications: list[Application]
) -> None:
    other = new_browser(auth)
    sign_in(other)
    theirs = get_tokens(other, applications[0])
    sign_in(auth)
    ours = get_tokens(auth, applications[0])

    auth.post("/account/end", data=fields_of(auth.get("/account")) | {"others": "1"})

    assert (refreshes(auth, applications[0], ours), refreshes(auth, applications[0], theirs)) == (True, False)


@both_databases
def test_silent_sign_in_is_refused_if_the_hint_names_another_user(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    hint = get_tokens(auth, applications[0])["id_token"]
    other = new_browser(auth)
    sign_in(other, "teacher1")
    assert answer_of(auth.get(applications[0].url(prompt="none", id_token_hint=hint)))["code"]

    refused = answer_of(other.get(applications[0].url(prompt="none", id_token_hint=hint)))

    assert refused["error"] == "login_required"


@both_databases
def test_client_gets_an_error_if_another_user_than_the_hinted_one_signs_in(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    hint = get_tokens(auth, applications[0])["id_token"]
    other = new_browser(auth)
    page = other.get(applications[0].url(id_token_hint=hint))

    response = submit_sign_in(other, page, "teacher1", "password456")

    assert answer_of(other.get(response.location))["error"] == "login_required"


def test_silent_sign_in_with_an_invalid_hint_is_refused(
    auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)

    refused = answer_of(auth.get(applications[0].url(prompt="none", id_token_hint="garbage")))

    assert refused["error"] == "login_required"


@both_databases
@pytest.mark.parametrize("ends_by", ["signing in again", "somebody else"])
def test_signing_out_ends_the_sessions_of_an_expired_browser_session(
    ends_by: str, auth: FlaskClient, applications: list[Application]
) -> None:
    sign_in(auth)
    tokens = get_tokens(auth, applications[0])
    change_row(auth, sa.update(BrowserSession).values(expires_at=int(time.time()) - 10))
    sign_in(auth if ends_by == "signing in again" else new_browser(auth), "student1")

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not refreshes(auth, applications[0], tokens)


@both_databases
def test_unverifiable_hint_requires_confirmation_and_gets_no_redirect(
    auth: FlaskClient, attacker: Forger
) -> None:
    add_application(auth, "app", "--post-logout-redirect-uri", "https://web.example.com/bye")
    sign_in(auth)
    hint = attacker.sign({"typ": "JWT"}, aud="app")

    page = auth.get(f"/logout?id_token_hint={hint}&post_logout_redirect_uri=https://web.example.com/bye")
    left = auth.post("/logout", data=fields_of(page))

    assert left.location == "/signed-out"


@both_databases
@pytest.mark.parametrize("uri", ["\0", "https://web.example.com/\x7f", "a b"])
def test_redirect_uri_with_invalid_characters_is_refused_at_the_token_endpoint(
    uri: str, auth: FlaskClient
) -> None:
    application = add_application(auth, "app", "--public")

    response = application.redeem(auth, "x" * 43, redirect_uri=uri)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_request")


@both_databases
@pytest.mark.parametrize("kid", [[], {}, 1, None, True])
def test_assertion_whose_kid_is_not_a_string_is_refused(
    kid: object, auth: FlaskClient, attacker: Forger, tmp_path: Path
) -> None:
    add_signing_client(auth, attacker, tmp_path, "--grant", "client_credentials")
    form = {"grant_type": "client_credentials", **assertion_form(attacker, {"kid": kid})}

    assert auth.post("/token", data=form).status_code == 401


@pytest.mark.parametrize(
    "aud", [["http://127.0.0.1:8081", "https://other.example.com"], [], [[]], "https://other.example.com"]
)
def test_assertion_must_be_addressed_to_this_server_only(
    aud: object, auth: FlaskClient, attacker: Forger, tmp_path: Path
) -> None:
    add_signing_client(auth, attacker, tmp_path, "--grant", "client_credentials")
    form = {"grant_type": "client_credentials", **assertion_form(attacker, aud=aud)}

    assert auth.post("/token", data=form).status_code == 401


def test_private_key_is_not_registered(auth: FlaskClient, attacker: Forger, tmp_path: Path) -> None:
    jwks = jwks_of(attacker)
    jwks["keys"].append(jwks["keys"][0] | {"kid": "private", "d": "AQAB"})
    (tmp_path / "jwks.json").write_text(json.dumps(jwks))

    result = run_command(auth, "clients", "add", "signer", "--jwks", str(tmp_path / "jwks.json"))

    assert (result.exit_code, "private key" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--backchannel-logout-uri", "https://app..example.com/out"),
        ("--backchannel-logout-uri", "https:///out"),
        ("--jwks-uri", "http://app.example.com/jwks"),
    ],
)
def test_unusable_or_unsafe_url_is_not_registered(options: tuple[str, str], auth: FlaskClient) -> None:
    result = run_command(auth, "clients", "add", "app", *options)

    assert result.exit_code == 1, result.output


def test_authorization_form_too_long_for_a_url_is_refused(auth: FlaskClient) -> None:
    application = add_application(auth)

    response = auth.post("/authorize", data={"client_id": application.id, "state": "x" * 9000})

    assert (response.status_code, response.mimetype) == (400, "text/html")


@pytest.mark.parametrize(
    "address", ["fec0::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "3fff::1", "5f00::1", "::ffff:10.0.0.1"]
)
def test_non_public_address_is_refused_unless_its_network_is_allowed(address: str) -> None:
    assert not _is_allowed(ip_address(address), ())
    assert _is_allowed(ip_address(address), [ip_network(f"{address}/128")])


def drip(listener: socket.socket, certificate: Path, stop: threading.Event) -> None:
    """Respond over TLS one byte at a time, without an end."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    connection, _ = listener.accept()
    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
        secured.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.2):
            secured.sendall(b"x")


def test_endless_tls_response_is_cut_off_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline used to be set on the plain socket, which TLS had taken over."""
    make_certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()
        server = threading.Thread(target=drip, args=(listener, tmp_path, stop))
        server.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/out"
        try:
            with pytest.raises(TimeoutError, match="no complete response"):
                post_form(url, {"logout_token": "x"}, [ip_network("127.0.0.0/8")])
        finally:
            stop.set()
            server.join(30)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_revoking_all_sessions_succeeds_while_users_sign_in(auth: FlaskClient) -> None:
    applications = [add_application(auth, f"app{number}") for number in range(3)]
    stop = threading.Event()

    def sign_in_again_and_again(application: Application) -> set[int]:
        statuses: set[int] = set()
        while not stop.is_set():
            browser = new_browser(auth)
            sign_in(browser, "student1")
            response = browser.get(application.url())
            if "code=" in (response.location or ""):
                code = answer_of(response)["code"]
                statuses.add(application.redeem(browser, code).status_code)
        return statuses

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(sign_in_again_and_again, application) for application in applications]
        results = [run_command(auth, "sessions", "revoke", "--all") for _ in range(6)]
        stop.set()
        statuses: set[int] = set().union(*(one.result(60) for one in running))

    assert {result.exit_code for result in results} == {0}, [result.output for result in results]
    assert 200 in statuses
    assert statuses <= {200, 400}


def test_code_belongs_to_the_user_who_signed_in(auth: FlaskClient) -> None:
    application = add_application(auth)
    sign_in(auth, "teacher1")

    tokens = application.redeem(auth, get_code(auth, application)).json

    assert tokens
    assert read_claims(tokens["access_token"])["username"] == "teacher1"
