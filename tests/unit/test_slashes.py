"""Paths with doubled or added slashes never redirect, so that no browser resends a password elsewhere."""

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from tests.conftest import KeyPair, open_auth, open_course

FORWARDED = {
    "no headers": {},
    "host": {"Host": "evil.example"},
    "host and scheme": {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"},
    "prefix": {"X-Forwarded-Prefix": "/prefix", "X-Forwarded-Host": "evil.example"},
}


@pytest.fixture(params=["auth", "course"])
def proxied(
    request: pytest.FixtureRequest, new_database: Callable[[], str], key_pair: KeyPair
) -> Iterator[FlaskClient]:
    """Each of the two services in turn, behind a proxy that it trusts."""
    open_service = {"auth": open_auth, "course": open_course}[request.param]
    with open_service(new_database(), key_pair, trusted_proxies=1) as client:
        yield FlaskClient(client.application)  # no document describes these requests


def misspell(path: str) -> Iterator[str]:
    """Yield `path` with each of its slashes doubled in turn, and with slashes at its end."""
    for index, character in enumerate(path):
        if character == "/":
            yield f"{path[:index]}/{path[index:]}"
    yield path.rstrip("/") if len(path) > 1 and path.endswith("/") else f"{path}/"
    yield f"{path}//"


def list_requests(client: FlaskClient) -> list[tuple[str, str]]:
    """Return each method with each misspelled path of a route."""
    paths = client.application.url_map.bind("")
    return [
        (method, spelled)
        for rule in client.application.url_map.iter_rules()
        for method in sorted(rule.methods or ())
        for spelled in misspell(paths.build(rule.endpoint, dict.fromkeys(rule.arguments, 1), method))
    ]


@pytest.mark.parametrize("headers", FORWARDED.values(), ids=FORWARDED)
def test_extra_slashes_never_redirect_to_an_address_from_the_request(
    headers: dict[str, str], proxied: FlaskClient
) -> None:
    found = []
    requests = list_requests(proxied)
    for method, path in requests:
        # Set only PATH_INFO, because the test client would take `//name` for a host.
        answer = proxied.open(method=method, headers=headers, environ_overrides={"PATH_INFO": path})
        location = answer.headers.get("Location", "")
        is_ours = location.startswith("/") and not location.startswith("//")
        if 300 <= answer.status_code < 400 and not (is_ours and answer.status_code == 303):
            found.append((method, path, answer.status_code, location))

    assert len(requests) > 50
    assert found == []


@pytest.mark.parametrize("path", ["/healthz//", "/.well-known//oauth-protected-resource", "/docs/"])
def test_path_with_extra_slashes_is_not_found(path: str, proxied: FlaskClient) -> None:
    assert proxied.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/apidocs/index.html"])
def test_old_paths_redirect_to_the_docs_page(path: str, proxied: FlaskClient) -> None:
    answer = proxied.get(path)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/docs")


def test_password_form_with_an_extra_slash_is_not_redirected(auth: FlaskClient) -> None:
    answer = FlaskClient(auth.application).post("/account//password", headers={"Host": "evil.example"})

    assert (answer.status_code, answer.headers.get("Location")) == (404, None)
