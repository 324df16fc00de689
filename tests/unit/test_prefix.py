"""Both services work under a path prefix, from SCRIPT_NAME or from a trusted proxy's header."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import KeyPair, bearer, get_token, open_auth, open_course

MOUNTED: dict[str, dict[str, Any]] = {
    "SCRIPT_NAME": {"environ_overrides": {"SCRIPT_NAME": "/prefix"}},
    "trusted proxy": {"headers": {"X-Forwarded-Prefix": "/prefix"}},
}

# What a client may send through a trusted proxy that does not set the header.
MALFORMED = [
    "//evil.example",
    "/a//b",
    "https://evil.example",
    "/a/../b",
    "/\\evil.example",
    "/a b",
    "/a?b",
    "a",
    "/a/",
]


@pytest.fixture
def mounted(new_database: Callable[[], str], key_pair: KeyPair) -> Any:
    with (
        open_auth(new_database(), key_pair, trusted_proxies=1) as auth,
        open_course(new_database(), key_pair, trusted_proxies=1) as course,
    ):
        yield {"auth": auth, "course": course}


@pytest.mark.parametrize("options", MOUNTED.values(), ids=MOUNTED)
@pytest.mark.parametrize("name", ["auth", "course"])
def test_docs_page_works_under_a_prefix(
    name: str, options: dict[str, Any], mounted: dict[str, FlaskClient]
) -> None:
    client = mounted[name]

    assert client.get("/", **options).headers["Location"] == "/prefix/docs"
    page = client.get("/docs", **options).text
    assert page.count('"/prefix/') == 5, "icon, style, document and two scripts"
    assert client.get("/openapi.json", **options).json["servers"] == [{"url": "/prefix"}]  # type: ignore[index]


@pytest.mark.parametrize("options", MOUNTED.values(), ids=MOUNTED)
def test_link_to_the_next_page_has_the_prefix(
    options: dict[str, Any], mounted: dict[str, FlaskClient]
) -> None:
    auth, course = mounted["auth"], mounted["course"]
    token = bearer(get_token(auth, "admin1"))
    options = options | {"headers": {**options.get("headers", {}), **token}}

    users = auth.get("/users?limit=1", **options).json
    courses = course.get("/courses?limit=1", **options).json

    assert users
    assert courses
    assert users["next"].startswith("/prefix/users?limit=1&after=")
    assert courses["next"].startswith("/prefix/courses?limit=1&after=")


@pytest.mark.parametrize("options", MOUNTED.values(), ids=MOUNTED)
def test_location_of_a_new_course_has_the_prefix(
    options: dict[str, Any], mounted: dict[str, FlaskClient]
) -> None:
    token = bearer(get_token(mounted["auth"], "teacher1"))
    options = options | {"headers": {**options.get("headers", {}), **token}}

    answer = mounted["course"].post("/courses", json={"title": "Cryptography"}, **options)

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/prefix/courses/{answer.get_json()['id']}"


def test_prefix_without_a_trusted_proxy_is_ignored(auth: FlaskClient, course: FlaskClient) -> None:
    for client in (auth, course):
        assert client.get("/", headers={"X-Forwarded-Prefix": "/prefix"}).headers["Location"] == "/docs"
        document = client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/prefix"}).json
        assert document
        assert document["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("prefix", MALFORMED)
def test_malformed_prefix_is_ignored(prefix: str, mounted: dict[str, FlaskClient]) -> None:
    for client in mounted.values():
        assert client.get("/", headers={"X-Forwarded-Prefix": prefix}).headers["Location"] == "/docs"


def test_metadata_of_an_issuer_with_a_path_is_served_at_two_urls(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, issuer="https://example.com/auth") as checking:
        client = FlaskClient(checking.application)
        by_section_3_1 = client.get("/.well-known/oauth-authorization-server/auth")
        by_prefix = client.get("/.well-known/oauth-authorization-server")

        assert by_section_3_1.json == by_prefix.json
        assert by_section_3_1.json
        assert by_section_3_1.json["issuer"] == "https://example.com/auth"
        for path in ("", "/auth"):
            answer = client.get(f"/.well-known/oauth-protected-resource{path}").json
            assert answer
            assert answer["resource"] == "https://example.com/auth"
