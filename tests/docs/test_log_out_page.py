"""The application of docs/how-to/log-out-everywhere.md signs users out when auth_app notifies it."""

import re
import time
from collections.abc import Iterator
from types import ModuleType

import jwt
import pytest

from auth_app.oauth.backchannel_logout import DELAYS
from auth_app.oauth.outgoing import TIMEOUT
from auth_app.settings import AuthSettings
from flask_resource_server.tokens.issuers import Issuer
from tests.applications import register_client
from tests.docs.page_programs import Programs, adapt, load, serve_here
from tests.form_browser import FormBrowser
from tests.servers import Pair, find_port, run_flask, serve_pair, wait_for

PROGRAMS = Programs("docs/how-to/log-out-everywhere.md")
PAGE = PROGRAMS.text


@pytest.fixture(scope="module")
def notifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    settings = {"BACKCHANNEL_LOGOUT_NETWORKS": "127.0.0.0/8", "STATUS_LIST_TTL": "1"}
    with serve_pair(tmp_path_factory.mktemp("notifying"), auth_settings=settings) as pair:
        yield pair


@pytest.fixture(scope="module")
def shop(notifying: Pair) -> Iterator[tuple[ModuleType, str]]:
    """The application, registered as the page does, and its URL."""
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    uris = [
        *("--redirect-uri", f"{url}/callback", "--post-logout-redirect-uri", f"{url}/"),
        *("--backchannel-logout-uri", f"{url}/backchannel-logout"),
    ]
    secret = register_client(notifying, "shop", "--scope", "courses:read", *uris)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLASK_CLIENT_SECRET", str(secret))
        environment.setenv("FLASK_SECRET_KEY", "only for this test")
        module = load(adapt(PROGRAMS.files["shop.py"], notifying))
    with serve_here(module.app, port):
        yield module, url


def run_command(pair: Pair, command: str) -> None:
    run_flask("wsgi_auth", command, pair.auth.environment, pair.auth.log.parent)


def test_application_signs_out_when_the_session_is_revoked(
    shop: tuple[ModuleType, str], notifying: Pair
) -> None:
    _, url = shop
    browser = FormBrowser()
    assert browser.sign_in(f"{url}/login").text == "Hello student1"

    run_command(notifying, "sessions revoke --user student1")

    def is_signed_out() -> bool:
        time.sleep(0.5)  # each page costs both services several requests
        return browser.open(url).text == "You are signed out."

    wait_for(is_signed_out)


def test_application_can_sign_out_of_auth_app(shop: tuple[ModuleType, str]) -> None:
    module, url = shop
    browser = FormBrowser()
    browser.sign_in(f"{url}/login")

    with module.app.test_request_context(base_url=url):
        module.session["sid"] = next(reversed(module.logins))
        answer = module.logout()

    assert browser.open(answer.location).text == "You are signed out."
    assert 'type="password"' in browser.open(f"{url}/login").text


BAD_CLAIMS = {
    "no event": {"events": {}},
    "nonce": {"nonce": "n"},
    "another client": {"aud": "other"},
    "another issuer": {"iss": "https://other.example.com"},
    "expired": {"exp": 1},
    "no sid": {"sid": None},
}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        *[(changes, "logout+jwt") for changes in BAD_CLAIMS.values()],
        ({}, "JWT"),
    ],
    ids=[*BAD_CLAIMS, "type of an ID token"],
)
def test_invalid_logout_tokens_are_refused(
    changes: dict[str, object], kind: str, shop: tuple[ModuleType, str], notifying: Pair
) -> None:
    module, _ = shop
    key = (notifying.auth.log.parent / "keys/private_key.pem").read_bytes()
    (kid,) = [one.key_id for one in module.keys.get_signing_keys()]

    def send(kind: str, changes: dict[str, object]) -> int:
        claims = {
            "iss": notifying.auth.url,
            "aud": "shop",
            "iat": 1,
            "exp": 2**40,
            "jti": "1",
            "sid": "1",
            "events": {module.EVENT: {}},
            **changes,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(given, key, "RS256", {"kid": kid, "typ": kind})
        return int(
            module.app.test_client().post("/backchannel-logout", data={"logout_token": token}).status_code
        )

    assert send("logout+jwt", {}) == 204
    assert send(kind, changes) == 400


def test_page_states_the_retry_delays_and_timeout_of_notices() -> None:
    *seconds, last = [f"{delay:,}" for delay in DELAYS]

    assert f"again after {', '.join(seconds)} and {last} seconds" in " ".join(PAGE.split())
    assert f"within {TIMEOUT} seconds" in PAGE


def test_settings_table_matches_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| `?(\w+)`? \|", PAGE, re.MULTILINE)
    issuer = {field: default for field, default in vars(Issuer).items() if isinstance(default, str)}
    defaults = {name: field.default for name, field in AuthSettings.model_fields.items()} | issuer

    assert len(rows) == 5
    assert {name: str(defaults[name.lower()]) for name, _ in rows} == dict(rows)
    assert "`BACKCHANNEL_LOGOUT_NETWORKS=" in PAGE
