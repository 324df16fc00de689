"""Redirect URIs must be safe for codes, and clients are registered only with consistent options."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from auth_app.accounts.redirect_uris import check_redirect_uri, check_web_uri, form_action_sources
from shared.errors import InvalidRequest
from tests.assertions import jwks_of
from tests.conftest import run_command
from tests.forger import Forger

GOOD = [
    "https://app.example.com/callback",
    "https://app.example.com",
    "https://app.example.com:8443/cb?tenant=1&x=%20",
    "https://xn--bcher-kva.example/cb",
    "https://192.0.2.1/cb",
    "https://[2001:db8::1]:8443/cb",
    "https://localhost/cb",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:8000/cb",
    "http://[::1]:8000/cb",
    "http://localhost:3000/",
    "com.example.app:/callback",
    "com.example.app://callback",
    "https://app.example.com/" + "x" * 2024,
]
BAD = {
    "empty": "",
    "javascript": "javascript:alert(1)",
    "javascript in capitals": "JavaScript:alert(1)",
    "data": "data:text/html,x",
    "file": "file:///etc/passwd",
    "blob": "blob:https://app.example.com/x",
    "mailto": "mailto:a@example.com",
    "about": "about:blank",
    "view-source": "view-source:https://app.example.com/",
    "plain scheme": "myapp://callback",
    "http": "http://app.example.com/cb",
    "http to a private network": "http://192.168.0.1/cb",
    "http to a host that begins like loopback": "http://127.0.0.1.example.com/cb",
    "http to a host that ends like loopback": "http://evil-localhost/cb",
    "http to another loopback address": "http://127.0.0.2/cb",
    "loopback as a number": "http://2130706433/cb",
    "ftp": "ftp://app.example.com/",
    "websocket": "wss://app.example.com/",
    "fragment": "https://app.example.com/cb#x",
    "empty fragment": "https://app.example.com/cb#",
    "user": "https://user@app.example.com/cb",
    "user and password": "https://user:pw@app.example.com/cb",
    "user in a private-use scheme": "com.example.app://user@host/cb",
    "wildcard for a subdomain": "https://*.example.com/cb",
    "wildcard for a path": "https://app.example.com/*",
    "wildcard for a port": "http://localhost:*/cb",
    "wildcard alone": "*",
    "space": "https://app.example.com/a b",
    "leading space": " https://app.example.com/",
    "line break": "https://app.example.com/\r\nX: y",
    "trailing line break": "https://app.example.com/\n",
    "NUL": "https://app.example.com/\0",
    "unicode in the path": "https://app.example.com/ä",
    "unicode in the host": "https://bücher.example/cb",
    "backslash": "https:\\\\app.example.com\\cb",
    "backslash after the host": "https://app.example.com\\@evil.example.com/",
    "markup": "https://app.example.com/<script>",
    "quote": 'https://app.example.com/"',
    "directive in the host": "https://app.example.com;script-src/cb",
    "comma in the host": "https://a.example.com,b.example.com/cb",
    "quote in the host": "https://app'example.com/cb",
    "percent in the host": "https://app%2eexample.com/cb",
    "dot as host": "https://./cb",
    "two dots in the host": "https://app..example.com/cb",
    "long label": f"https://{'x' * 64}.example.com/cb",
    "relative": "/callback",
    "without a scheme": "//app.example.com/cb",
    "host only": "app.example.com/cb",
    "no host": "https:///cb",
    "no slashes": "https:app.example.com/cb",
    "port that is not a number": "https://app.example.com:x/cb",
    "port that is too large": "https://app.example.com:65536/cb",
    "unclosed bracket": "https://[::1/cb",
    "invalid IPv6 address": "https://[x]/cb",
    "too long": "https://app.example.com/" + "x" * 2025,
}


@pytest.mark.parametrize("uri", GOOD)
def test_safe_redirect_uri_is_accepted(uri: str) -> None:
    check_redirect_uri(uri)


@pytest.mark.parametrize("uri", BAD.values(), ids=BAD)
def test_unsafe_redirect_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_redirect_uri(uri)

    assert refused.value.description.isascii()
    assert "\n" not in refused.value.description


# The server also sends requests over http, an asterisk in a path is an ordinary character, and the address of
# a host is checked when a request is sent to it.
ALLOWED_FOR_REQUESTS = ("http", "wildcard for a path", "loopback as a number")
BAD_WEB_URIS = {name: uri for name, uri in BAD.items() if not name.startswith(ALLOWED_FOR_REQUESTS)}


@pytest.mark.parametrize("uri", BAD_WEB_URIS.values(), ids=BAD_WEB_URIS)
def test_unsafe_web_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        check_web_uri(uri)


TARGETS = {
    "https://app.example.com:8443/cb?x": ["https:"],
    "http://127.0.0.1:8000/cb": ["https:", "http://127.0.0.1:*", "http://localhost:*"],
    "http://[::1]:8000/cb": ["https:", "http:"],
    "com.example.app:/cb": ["https:", "com.example.app:"],
}


@pytest.mark.parametrize(("uri", "targets"), TARGETS.items(), ids=TARGETS)
def test_form_action_sources_allow_the_redirect_uri(uri: str, targets: list[str]) -> None:
    assert form_action_sources(uri) == targets


# Commands

CB = ("--redirect-uri", "https://app.example.com/cb")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "bad redirect URI": (("--redirect-uri", "http://app.example.com/"), "would send codes unencrypted"),
    "second redirect URI": ((*CB, "--redirect-uri", "x"), "is not an absolute URI"),
    "bad post-logout URI": ((*CB, "--post-logout-redirect-uri", "http://a.example.com/"), "unencrypted"),
    "bad back-channel logout URI": ((*CB, "--backchannel-logout-uri", "file:///x"), "is not an absolute URL"),
    "bad JWKS URL": (("--jwks-uri", "file:///x"), "is not an absolute URL"),
    "public without redirect URIs": (("--public",), "A public client cannot use client_credentials"),
    "public with client credentials": ((*CB, "--public", "--grant", "client_credentials"), "A public client"),
    "public with keys": ((*CB, "--public", "--jwks-uri", "https://a.example.com/"), "omit --public"),
    "JWKS and JWKS URL": (("--jwks", "{jwks}", "--jwks-uri", "https://a.example.com/"), "not both"),
    "empty keys": (("--jwks", "{empty}"), "contains no keys"),
    "private keys": (("--jwks", "{private}"), "private"),
    "not a JWK Set": (("--jwks", "{garbage}"), "is not a JWK Set"),
    "unknown scope": (("--scope", "courses:burn"), "is not one of"),
    "unknown resource": (("--resource", "https://other.example.com"), "is not one of"),
    "code grant by name": (("--grant", "authorization_code"), "is not one of"),
    "unknown refresh token policy": ((*CB, "--refresh-token", "sometimes"), "is not one of"),
    "name with a control character": ((*CB, "--name", "a\x1bb"), "1 to 128 printable"),
    "long name": ((*CB, "--name", "x" * 129), "1 to 128 printable"),
}


@pytest.fixture
def files(tmp_path: Path, forger: Forger) -> dict[str, str]:
    contents: dict[str, Any] = {
        "jwks": jwks_of(forger),
        "empty": {"keys": []},
        "private": {"keys": [jwks_of(forger)["keys"][0] | {"d": "AQ"}]},
        "garbage": [],
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return {name: str(tmp_path / name) for name in contents}


def show(client: FlaskClient, client_id: str = "app") -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run_command(client, "clients", "show", client_id, "--json").stdout)
    return shown


@pytest.mark.parametrize(("options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_client_with_invalid_options_is_not_added(
    options: tuple[str, ...], sentence: str, auth: FlaskClient, files: dict[str, str]
) -> None:
    arguments = [option.format_map(files) if option.startswith("{") else option for option in options]

    result = run_command(auth, "clients", "add", "app", *arguments)

    assert result.exit_code in {1, 2}
    assert sentence in result.output
    assert run_command(auth, "clients", "show", "app").exit_code == 1


CODE, REFRESH, OWN, PASSWORD = "authorization_code", "refresh_token", "client_credentials", "password"
ADDED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "service": ((), {"auth_method": "client_secret", "grant_types": [OWN], "redirect_uris": []}),
    "web": (CB, {"auth_method": "client_secret", "grant_types": [CODE, REFRESH], "always_refresh": False}),
    "public": ((*CB, "--public"), {"auth_method": "none", "grant_types": [CODE, REFRESH]}),
    "keys": ((*CB, "--jwks", "{jwks}"), {"auth_method": "private_key_jwt", "jwks_uri": None}),
    "keys by URL": (("--jwks-uri", "https://a.example.com/"), {"auth_method": "private_key_jwt"}),
    "never": ((*CB, "--refresh-token", "never"), {"grant_types": [CODE], "always_refresh": False}),
    "always": ((*CB, "--refresh-token", "always"), {"grant_types": [CODE, REFRESH], "always_refresh": True}),
    "on request": ((*CB, "--refresh-token", "on-request"), {"grant_types": [CODE, REFRESH]}),
    "both": ((*CB, "--grant", OWN), {"grant_types": [CODE, OWN, REFRESH]}),
    "password": (("--grant", PASSWORD), {"grant_types": [PASSWORD, REFRESH]}),
    "public password": (("--grant", PASSWORD, "--public"), {"auth_method": "none"}),
    "password without refresh": (
        ("--grant", PASSWORD, "--refresh-token", "never"),
        {"grant_types": [PASSWORD]},
    ),
    "named": ((*CB, "--name", "Über & <b>"), {"name": "Über & <b>", "scopes": []}),
}


@pytest.mark.parametrize(("options", "expected"), ADDED.values(), ids=ADDED)
def test_client_is_added_with_the_given_options(
    options: tuple[str, ...], expected: dict[str, Any], auth: FlaskClient, files: dict[str, str]
) -> None:
    arguments = [option.format_map(files) if option.startswith("{") else option for option in options]

    result = run_command(auth, "clients", "add", "app", *arguments)

    assert result.exit_code == 0, result.output
    shown = show(auth)
    assert {name: shown[name] for name in expected} == expected
    assert ("client_secret" in result.stdout) == (shown["auth_method"] == "client_secret")


CHANGED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "other redirect URI": (
        ("--redirect-uri", "https://b.example.com/"),
        {"redirect_uris": ["https://b.example.com/"], "grant_types": [CODE, REFRESH]},
    ),
    "never": (("--refresh-token", "never"), {"grant_types": [CODE], "always_refresh": False}),
    "always": (("--refresh-token", "always"), {"grant_types": [CODE, REFRESH], "always_refresh": True}),
    "name": (("--name", "New"), {"name": "New", "redirect_uris": [CB[1]]}),
    "no scopes": (("--no-scope",), {"scopes": []}),
    "no post-logout redirect URI": (("--no-post-logout-redirect-uri",), {"post_logout_redirect_uris": []}),
    "no back-channel logout URI": (("--no-backchannel-logout-uri",), {"backchannel_logout_uri": None}),
}


@pytest.mark.parametrize(("options", "expected"), CHANGED.values(), ids=CHANGED)
def test_set_command_changes_only_what_its_options_name(
    options: tuple[str, ...], expected: dict[str, Any], auth: FlaskClient
) -> None:
    web = "https://app.example.com"
    uris = ("--post-logout-redirect-uri", f"{web}/bye", "--backchannel-logout-uri", f"{web}/logout")
    run_command(auth, "clients", "add", "app", *CB, *uris, "--scope", "courses:read")
    before = show(auth)

    result = run_command(auth, "clients", "set", "app", *options)

    assert result.exit_code == 0, result.output
    assert show(auth) == before | expected


NOT_CHANGED: dict[str, tuple[str, ...]] = {
    "no options": (),
    "scope and no scope": ("--scope", "courses:read", "--no-scope"),
    "logout URI and no logout URI": (
        "--backchannel-logout-uri",
        "https://a.example.com/",
        "--no-backchannel-logout-uri",
    ),
    "bad redirect URI": ("--redirect-uri", "javascript:alert(1)"),
    "keys for a client with a secret": ("--jwks-uri", "https://a.example.com/"),
    "unknown resource": ("--resource", "https://other.example.com"),
}


@pytest.mark.parametrize("options", NOT_CHANGED.values(), ids=NOT_CHANGED)
def test_invalid_change_changes_nothing(options: tuple[str, ...], auth: FlaskClient) -> None:
    run_command(auth, "clients", "add", "app", *CB)
    before = show(auth)

    assert run_command(auth, "clients", "set", "app", *options).exit_code in {1, 2}
    assert show(auth) == before


def test_refresh_token_policy_is_kept_when_a_redirect_uri_changes(auth: FlaskClient) -> None:
    run_command(auth, "clients", "add", "app", *CB, "--refresh-token", "never")

    run_command(auth, "clients", "set", "app", "--redirect-uri", "https://b.example.com/")

    assert show(auth)["grant_types"] == [CODE]
