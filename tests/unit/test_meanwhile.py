"""Conditions that change while a request runs are checked again before it writes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import Session, StatusList, User
from tests.conftest import (
    add_client,
    bearer,
    both_databases,
    find_user,
    get_token,
    log_in,
    run_command,
)

pytestmark = both_databases

GOOD_PASSWORD = "correct horse battery"
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "add": ("POST", "/users", {"username": "backdoor", "password": GOOD_PASSWORD, "roles": ["admin"]}),
    "edit": ("PATCH", "/users/{}", {"roles": ["admin"]}),
    "reset the password": ("PUT", "/users/{}/password", {"new_password": GOOD_PASSWORD}),
    "delete": ("DELETE", "/users/{}", None),
}
EVICTIONS = {"disabled": ("disable", "admin1"), "demoted": ("set-roles", "admin1", "student")}


@contextmanager
def before_first_write(client: FlaskClient, act: Callable[[], object]) -> Iterator[list[str]]:
    """Call a function just before the next request writes to the users table."""
    with client.application.app_context():
        engine = client.application.extensions["sqlalchemy"].engine
    acted: list[str] = []

    def intervene(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not acted and statement.startswith(("INSERT INTO users", "UPDATE users")):
            acted.append(statement)
            act()

    sa.event.listen(engine, "before_cursor_execute", intervene)
    yield acted
    sa.event.remove(engine, "before_cursor_execute", intervene)


@pytest.mark.parametrize("eviction", EVICTIONS.values(), ids=EVICTIONS)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_administrator_disabled_or_demoted_during_a_request_changes_nothing(
    request_: tuple[str, str, Any], eviction: tuple[str, ...], auth: FlaskClient
) -> None:
    method, path, body = request_
    headers = bearer(get_token(auth, "admin1")) | {"If-Match": "*"}
    student = find_user(auth, "student1")

    with before_first_write(auth, lambda: run_command(auth, "users", *eviction)) as acted:
        response = auth.open(path.format(student.id), method=method, json=body, headers=headers)

    assert acted
    assert response.status_code == 401
    after = find_user(auth, "student1")
    for name in ("password_hash", "roles", "version", "deleted_at"):
        assert getattr(after, name) == getattr(student, name)
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert session.scalar(sa.select(User).where(User.username == "backdoor")) is None


def test_client_removed_during_a_request_gets_no_session(auth: FlaskClient) -> None:
    credentials = add_client(auth, "reports", "--scope", "courses:read")
    form = {"username": "student1", "password": "password123"}

    with before_first_write(auth, lambda: run_command(auth, "clients", "remove", "reports")) as acted:
        response = auth.post("/token", data=form, auth=credentials)

    assert acted
    assert (response.status_code, response.get_json()["error"]) == (401, "invalid_client")
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert session.scalars(sa.select(Session)).all() == []


def test_password_change_does_not_block_an_administrators_update(auth: FlaskClient) -> None:
    """Otherwise a thief could keep changing the password so that an administrator's ETag is always stale."""
    admin, thief = bearer(get_token(auth, "admin1")), bearer(get_token(auth))
    path = f"/users/{find_user(auth, 'student1').id}"
    tag = auth.get(path, headers=admin).headers["ETag"]
    change = {"current_password": "password123", "new_password": GOOD_PASSWORD}
    assert auth.put("/users/me/password", json=change, headers=thief).status_code == 204

    response = auth.patch(path, json={"is_disabled": True}, headers=admin | {"If-Match": tag})

    assert response.status_code == 200


@pytest.mark.parametrize("beginning", ["no list", "all are revoked"])
def test_concurrent_logins_start_only_one_status_list(beginning: str, auth: FlaskClient) -> None:
    together = 4
    clients = [add_client(auth, f"client{number}") for number in range(together)]
    barrier = Barrier(together)

    def get_token_together(credentials: tuple[str, str]) -> int:
        barrier.wait()
        form = {"grant_type": "client_credentials"}
        return auth.application.test_client().post("/token", data=form, auth=credentials).status_code

    for _ in range(1 if beginning == "no list" else 5):
        if beginning == "all are revoked":
            log_in(auth)
            run_command(auth, "sessions", "revoke", "--all")
        with ThreadPoolExecutor(together) as pool:
            assert list(pool.map(get_token_together, clients)) == [200] * together

    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        lists = session.scalars(sa.select(StatusList).where(StatusList.is_revoked.is_(False))).all()
    assert len(lists) == 1
