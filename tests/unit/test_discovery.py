"""The issuer's URL is enough: keys and status lists are found through its metadata."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_resource_server import ResourceServer, current_subject, require_scope
from flask_resource_server.tokens.keys import public_jwk
from tests.conftest import KeyPair, bearer
from tests.forger import COURSES, Forger
from tests.issuers import Issuer, copy_path, serve_issuer
from tests.servers import wait_for

RFC8414 = "/.well-known/oauth-authorization-server"
OIDC = "/.well-known/openid-configuration"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as running:
        running.missing = 404
        yield running


def origin(issuer: Issuer) -> str:
    return issuer.url.rpartition("/")[0]


def publish(server: Issuer, *pairs: KeyPair, path: str = "", at: str = RFC8414, **changes: Any) -> str:
    """Publish metadata and keys at the issuer, and return its URL."""
    url = origin(server) + path
    metadata = {"issuer": url, "jwks_uri": f"{origin(server)}/keys"} | changes
    address = at + path.rstrip("/") if at == RFC8414 else path.rstrip("/") + at
    server.pages[address] = json.dumps(metadata).encode()
    jwks = [{"kid": pair.kid, **public_jwk(pair.private_key.public_key())} for pair in pairs]
    server.pages["/keys"] = json.dumps({"keys": jwks}).encode()
    return url


@contextmanager
def open_service(**settings: Any) -> Iterator[FlaskClient]:
    app = Flask("service")
    ResourceServer(app, **{"resource": COURSES, "status_claim": "ignored", **settings})

    @app.get("/")
    @require_scope("courses:read")
    def show_reader() -> dict[str, str | None]:
        return {"reader": current_subject()}

    yield app.test_client()


def forge(pair: KeyPair, url: str) -> str:
    return Forger(pair.private_key, pair.kid, issuer=url).sign()


def get(client: FlaskClient, token: str) -> int:
    return client.get("/", headers=bearer(token)).status_code


@pytest.mark.parametrize("at", [RFC8414, OIDC])
@pytest.mark.parametrize("path", ["", "/", "/auth", "/realms/a/", "/a/b"])
def test_keys_are_discovered_from_the_issuers_url(
    at: str, path: str, issuer: Issuer, key_pair: KeyPair
) -> None:
    url = publish(issuer, key_pair, path=path, at=at)

    with open_service(issuer=url) as client:
        assert get(client, forge(key_pair, url)) == 200
        assert get(client, forge(key_pair, f"{url}x")) == 401


HTML = b"<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize("body", [HTML, b"", b"null"], ids=repr)
def test_web_page_at_the_first_metadata_url_does_not_hide_the_second(
    body: bytes, issuer: Issuer, key_pair: KeyPair
) -> None:
    """A single-page application responds to unknown URLs with status 200 and its own page."""
    url = publish(issuer, key_pair, at=OIDC)
    issuer.pages[RFC8414] = body

    with open_service(issuer=url) as client:
        assert get(client, forge(key_pair, url)) == 200


def test_web_pages_at_both_metadata_urls_are_reported(
    issuer: Issuer, key_pair: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    url = origin(issuer)
    issuer.pages |= {RFC8414: HTML, OIDC: HTML}

    with open_service(issuer=url) as client:
        assert get(client, forge(key_pair, url)) == 503

    assert f"there is no metadata at {url}{RFC8414} or {url}{OIDC} (JSONDecodeError: Expecting" in caplog.text
    assert "check that ISSUER is the URL of an authorization server" in caplog.text


@pytest.mark.parametrize("status", [301, 500])
def test_redirect_or_server_error_does_not_lead_to_the_second_metadata_url(
    status: int, issuer: Issuer, key_pair: KeyPair
) -> None:
    url = publish(issuer, key_pair, at=OIDC)
    issuer.missing = status

    with open_service(issuer=url) as client:
        assert get(client, forge(key_pair, url)) == 503


BAD_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"issuer": "https://evil.example.com"}, "set ISSUER to the issuer's URL exactly"),
    "no issuer": ({"issuer": None}, "is the metadata of None"),
    "keys on another host": (
        {"jwks_uri": "https://evil.example.com/keys"},
        "if you trust that URL, set JWKS_URL to it",
    ),
    "keys with another scheme": ({"jwks_uri": "file:///etc/keys"}, "set JWKS_URL"),
    "keys at another port": ({"jwks_uri": "http://127.0.0.1:1/keys"}, "set JWKS_URL"),
    "keys with credentials": ({"jwks_uri": "http://127.0.0.1@evil.example.com/keys"}, "set JWKS_URL"),
    "no key URL": ({"jwks_uri": None}, "jwks_uri is None"),
    "keys in a list": ({"jwks_uri": ["https://x"]}, "jwks_uri is ['https://x']"),
    "keys with an invalid port": ({"jwks_uri": "http://127.0.0.1:x/keys"}, "set JWKS_URL"),
    "status lists on another host": (
        {"status_list_aggregation_endpoint": "https://evil.example.com/lists"},
        "if you trust that URL, set STATUS_LISTS_URL to it",
    ),
    "numeric list URL": ({"status_list_aggregation_endpoint": 1}, "status_list_aggregation_endpoint is 1"),
}


@pytest.mark.parametrize(("changes", "said"), BAD_METADATA.values(), ids=BAD_METADATA)
def test_bad_metadata_is_not_followed(
    changes: dict[str, Any], said: str, issuer: Issuer, key_pair: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    publish(issuer, key_pair, **changes)
    url = origin(issuer)

    with open_service(issuer=url) as client:
        response = client.get("/", headers=bearer(forge(key_pair, url)))

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "/keys" not in issuer.requests
    assert said in caplog.text


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"issuer":1,"issuer":2}', b"x" * 70_000], ids=repr)
def test_malformed_metadata_is_not_followed(body: bytes, issuer: Issuer, key_pair: KeyPair) -> None:
    url = publish(issuer, key_pair)
    issuer.pages[RFC8414] = body

    with open_service(issuer=url) as client:
        assert get(client, forge(key_pair, url)) == 503


def test_response_is_503_until_the_issuer_is_up(issuer: Issuer, key_pair: KeyPair) -> None:
    url = origin(issuer)
    with open_service(issuer=url, jwks_cooldown=1) as client:
        token = forge(key_pair, url)
        assert get(client, token) == 503
        assert client.get("/").status_code == 401, "a request without a token needs no issuer"

        publish(issuer, key_pair)

        wait_for(lambda: get(client, token) == 200)


def test_service_restarts_from_its_copies_while_the_issuer_is_down(
    issuer: Issuer, key_pair: KeyPair, tmp_path: Path
) -> None:
    url = publish(issuer, key_pair)
    with open_service(issuer=url, copies=tmp_path) as client:
        assert get(client, forge(key_pair, url)) == 200
    wait_for(lambda: copy_path(tmp_path, "keys", url).exists())
    issuer.pages.clear()

    with open_service(issuer=url, copies=tmp_path) as client:
        assert get(client, forge(key_pair, url)) == 200


def test_services_with_different_key_sources_share_no_copy(
    issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    """For example, a service tried with the keys of a mock, also after JWKS_URL was removed again."""
    url = publish(issuer, key_pair)
    with serve_issuer() as mock:
        mock.publish(public_jwk(other_key_pair.private_key.public_key()))
        with (
            open_service(issuer=url, jwks_url=mock.url, copies=tmp_path) as tried,
            open_service(issuer=url, copies=tmp_path) as real,
        ):
            assert get(tried, forge(other_key_pair, url)) == 200
            wait_for(lambda: len(list(tmp_path.glob("*.keys.json"))) == 1)
            assert get(real, forge(key_pair, url)) == 200
            assert get(real, forge(other_key_pair, url)) == 401

        with open_service(issuer=url, copies=tmp_path) as restarted:
            assert get(restarted, forge(other_key_pair, url)) == 401


def test_keys_moved_to_another_url_are_found_again(
    issuer: Issuer, key_pair: KeyPair, other_key_pair: KeyPair
) -> None:
    url = publish(issuer, key_pair)
    with open_service(issuer=url, jwks_cooldown=1, jwks_refresh=1) as client:
        assert get(client, forge(key_pair, url)) == 200
        publish(issuer, other_key_pair, jwks_uri=f"{url}/new-keys")
        issuer.pages["/new-keys"] = issuer.pages.pop("/keys")

        wait_for(lambda: get(client, forge(other_key_pair, url)) == 200)
        assert get(client, forge(key_pair, url)) == 401


def test_metadata_is_not_fetched_if_jwks_url_is_set(issuer: Issuer, key_pair: KeyPair) -> None:
    publish(issuer, key_pair)
    elsewhere = "https://login.example.com"

    with open_service(issuer=elsewhere, jwks_url=f"{origin(issuer)}/keys") as client:
        assert get(client, forge(key_pair, elsewhere)) == 200

    assert issuer.requests == ["/keys"]


def test_tokens_are_verified_with_the_keys_of_their_own_issuer(
    key_pair: KeyPair, other_key_pair: KeyPair
) -> None:
    with serve_issuer() as one, serve_issuer() as two:
        one.missing = two.missing = 404
        urls = [publish(one, key_pair), publish(two, other_key_pair)]
        issuers = [{"url": url, "status_claim": "ignored"} for url in urls]
        with open_service(issuers=issuers, status_claim=None) as client:
            right = [forge(pair, url) for pair, url in zip((key_pair, other_key_pair), urls, strict=True)]
            wrong = [forge(pair, url) for pair, url in zip((other_key_pair, key_pair), urls, strict=True)]

            assert [get(client, token) for token in right] == [200, 200]
            assert [get(client, token) for token in wrong] == [401, 401]
            metadata = client.get("/.well-known/oauth-protected-resource").get_json()
            assert metadata["authorization_servers"] == urls


def test_issuer_that_is_down_does_not_affect_the_other(key_pair: KeyPair, other_key_pair: KeyPair) -> None:
    with serve_issuer() as one, serve_issuer() as two:
        one.status, two.missing = 500, 404
        urls = [origin(one), publish(two, other_key_pair)]
        issuers = [{"url": url, "status_claim": "ignored"} for url in urls]
        with open_service(issuers=issuers, status_claim=None) as client:
            assert get(client, forge(key_pair, urls[0])) == 503
            assert get(client, forge(other_key_pair, urls[1])) == 200
