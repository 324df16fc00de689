"""The `resource` parameter limits the services that a token is for (RFC 8707)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from auth_app.models import Session
from flask_resource_server.tokens.checks import MAXIMUM_LENGTH
from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    both_databases,
    change_row,
    log_in,
    open_auth,
    open_course,
    read_claims,
)
from tests.forger import COURSES, ISSUER

LIBRARY = "http://127.0.0.1:8083"


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An authorization server for two resource servers."""
    with open_auth(new_database(), key_pair, resources=(COURSES, LIBRARY)) as client:
        yield client


@pytest.fixture
def library(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """The other resource server: the same code under a URL of its own."""
    with open_course(new_database(), key_pair, resource=LIBRARY) as client:
        yield client


@pytest.mark.parametrize(
    ("resource", "audience"),
    [
        (None, [ISSUER, COURSES, LIBRARY]),
        (COURSES, [COURSES]),
        ([COURSES], [COURSES]),
        ([LIBRARY, COURSES], [COURSES, LIBRARY]),
        ([COURSES, COURSES], [COURSES]),
        (ISSUER, [ISSUER]),
    ],
)
@pytest.mark.parametrize("encoding", ["data", "json"])
def test_resource_narrows_the_audience(
    encoding: str, resource: Any, audience: list[str], auth: FlaskClient
) -> None:
    if encoding == "json" and isinstance(resource, str):
        resource = [resource]
    body = {"username": "student1", "password": "password123"} | ({"resource": resource} if resource else {})

    response = auth.post("/token", **{encoding: body})

    assert response.json
    assert read_claims(response.json["access_token"])["aud"] == audience


def test_token_for_one_resource_server_is_refused_by_the_others(
    auth: FlaskClient, course: FlaskClient, library: FlaskClient
) -> None:
    for resource, statuses in (
        (COURSES, (401, 200, 401)),
        (LIBRARY, (401, 401, 200)),
        (ISSUER, (200, 401, 401)),
    ):
        headers = bearer(log_in(auth, resource=resource)["access_token"])
        paths = ((auth, "/users/me"), (course, "/courses"), (library, "/courses"))

        assert tuple(client.get(path, headers=headers).status_code for client, path in paths) == statuses


@pytest.mark.parametrize(
    "resource",
    [
        "http://127.0.0.1:9999",
        f"{COURSES}/",
        COURSES.upper(),
        f"{COURSES}#x",
        f"{COURSES}?x",
        "x",
        [COURSES, "http://127.0.0.1:9999"],
    ],
    ids=str,
)
def test_unknown_resource_is_refused(resource: Any, auth: FlaskClient) -> None:
    form = {"username": "student1", "password": "password123", "resource": resource}

    response = auth.post("/token", data=form)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_target")


@both_databases
def test_refresh_can_narrow_the_audience_but_not_widen_it(auth: FlaskClient) -> None:
    answer = log_in(auth, resource=[COURSES, LIBRARY])
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}

    wide = auth.post("/token", data=form | {"resource": ISSUER})
    narrow = auth.post("/token", data=form | {"resource": LIBRARY}).json
    assert narrow
    again = auth.post("/token", data=form | {"refresh_token": narrow["refresh_token"]}).json

    assert (wide.status_code, wide.json and wide.json["error"]) == (400, "invalid_target")
    assert read_claims(narrow["access_token"])["aud"] == [LIBRARY]
    assert again
    assert read_claims(again["access_token"])["aud"] == [COURSES, LIBRARY]


LONG = [f"https://service{number}.example.com/{'x' * 40}" for number in range(51)]


@pytest.fixture
def crowded(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An issuer with so many resource servers that a token for all of them would be too long."""
    with open_auth(new_database(), key_pair, resources=LONG) as client:
        yield client


def test_token_too_long_for_verifiers_is_not_issued(crowded: FlaskClient) -> None:
    grants: list[tuple[dict[str, str], tuple[str, str] | None]] = [
        ({"username": "student1", "password": "password123"}, None),
        ({"grant_type": "client_credentials"}, add_client(crowded)),
    ]
    for form, credentials in grants:
        refused = crowded.post("/token", data=form, auth=credentials)
        assert (refused.status_code, refused.get_json()["error"]) == (400, "invalid_target")
        assert "Request fewer with the parameter resource" in refused.get_json()["error_description"]

        answer = crowded.post("/token", data={**form, "resource": LONG[:2]}, auth=credentials).get_json()
        assert len(answer["access_token"]) <= MAXIMUM_LENGTH
    with crowded.application.app_context():
        sessions = crowded.application.extensions["sqlalchemy"].session.scalars(sa.select(Session)).all()
    assert len(sessions) == 2, "refused requests started no session"


def test_login_without_a_token_is_not_counted_as_succeeded(crowded: FlaskClient) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("logins_total", {"result": "succeeded"}) or 0

    before = count()
    form = {"username": "student1", "password": "password123"}

    assert crowded.post("/token", data=form).status_code == 400
    assert count() == before
    assert crowded.post("/token", data={**form, "resource": LONG[0]}).status_code == 200
    assert count() == before + 1


def test_refresh_token_stays_valid_if_the_access_token_would_be_too_long(crowded: FlaskClient) -> None:
    few = log_in(crowded, resource=LONG[:2])
    change_row(crowded, sa.update(Session).values(resources=LONG))
    form = {"grant_type": "refresh_token", "refresh_token": few["refresh_token"]}

    assert crowded.post("/token", data=form).status_code == 400
    assert crowded.post("/token", data={**form, "resource": LONG[:2]}).status_code == 200
