"""A request is one transaction: if the database fails at any statement, nothing changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from tests.conftest import (
    add_client,
    bearer,
    both_databases,
    find_user,
    get_token,
    log_in,
    read_claims,
    run_command,
)
from tests.servers import wait_for

pytestmark = both_databases

GOOD_PASSWORD = "correct horse battery"
STUDENT = {"username": "student1", "password": "password123"}

# Sends a request or runs a command, and returns whether it succeeded.
Action = Callable[[], bool]


def engine_of(client: FlaskClient) -> sa.Engine:
    with client.application.app_context():
        engine: sa.Engine = client.application.extensions["sqlalchemy"].engine
        return engine


def snapshot(engine: sa.Engine) -> dict[str, list[Any]]:
    tables = sa.inspect(engine).get_table_names()
    with engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))))
            for name in tables
        }


def is_unlocked(engine: sa.Engine, table: str) -> bool:
    """Return whether no transaction has locked a row of a table of PostgreSQL."""
    rows = sa.select(sa.text("1")).select_from(sa.table(table))
    with engine.begin() as connection:
        unlocked = connection.execute(rows.with_for_update(skip_locked=True)).all()
        return len(unlocked) == len(connection.execute(rows).all())


@contextmanager
def failing(engine: sa.Engine, number: int) -> Iterator[Callable[[], bool]]:
    """Make the nth statement or commit fail, counted from 0; yield a function that returns whether it has."""
    left = number

    def fail(*details: object) -> None:
        nonlocal left
        if len(details) > 2 and str(details[2]).startswith("SET LOCAL"):
            return  # part of how a transaction begins, where SQLAlchemy expects no failure
        left -= 1
        if left == -1:
            raise sa.exc.OperationalError("a statement", {}, Exception("the disk is on fire"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    sa.event.listen(engine, "commit", fail)
    try:
        yield lambda: left < 0
    finally:
        sa.event.remove(engine, "before_cursor_execute", fail)
        sa.event.remove(engine, "commit", fail)
        engine.dispose()  # never reuse a connection that was interrupted like this


def by_administrator(
    method: str, path: str = "", needs_tag: bool = True, **options: Any
) -> Callable[[FlaskClient], Action]:
    def prepare(client: FlaskClient) -> Action:
        for _ in range(2):
            log_in(client)
        address = f"/users/{find_user(client, 'student1').id}"
        headers = bearer(get_token(client, "admin1"))
        if needs_tag:
            headers["If-Match"] = client.get(address, headers=headers).headers["ETag"]
        return lambda: is_done(
            client.open(address + path, method=method, headers=headers, **options).status_code
        )

    return prepare


def is_done(status: int) -> bool:
    assert status in {200, 201, 204, 503}
    return status != 503


def own_password(client: FlaskClient) -> Action:
    log_in(client)
    headers = bearer(get_token(client))
    body = {"current_password": "password123", "new_password": GOOD_PASSWORD}
    return lambda: is_done(client.put("/users/me/password", json=body, headers=headers).status_code)


def post(path: str, form: Callable[[FlaskClient], dict[str, Any]]) -> Callable[[FlaskClient], Action]:
    def prepare(client: FlaskClient) -> Action:
        data = form(client)
        credentials = data.pop("auth", None)
        return lambda: is_done(client.post(path, data=data, auth=credentials).status_code)

    return prepare


def new_user(client: FlaskClient) -> Action:
    headers = bearer(get_token(client, "admin1"))
    body = {"username": "ada", "password": GOOD_PASSWORD}
    return lambda: is_done(client.post("/users", json=body, headers=headers).status_code)


def command(*arguments: str, stdin: str = "") -> Callable[[FlaskClient], Action]:
    def prepare(client: FlaskClient) -> Action:
        credentials = add_client(client, "website", "--scope", "courses:read")
        client.post("/token", data={"grant_type": "client_credentials"}, auth=credentials)
        session = read_claims(
            client.post("/token", data=STUDENT, auth=credentials).get_json()["access_token"]
        )

        def run() -> bool:
            words = [session["sid"] if word == "SESSION" else word for word in arguments]
            result = run_command(client, *words, stdin=stdin)
            assert result.exit_code == 0 or "the database failed" in result.output
            return result.exit_code == 0

        return run

    return prepare


ACTIONS: dict[str, Callable[[FlaskClient], Action]] = {
    "PATCH user": by_administrator("PATCH", json={"roles": [], "is_disabled": True}),
    "DELETE user": by_administrator("DELETE"),
    "PUT password": by_administrator("PUT", "/password", False, json={"new_password": GOOD_PASSWORD}),
    "PUT own password": own_password,
    "POST user": new_user,
    "password": post("/token", lambda client: log_in(client) and STUDENT.copy()),
    "refresh_token": post(
        "/token",
        lambda client: {"grant_type": "refresh_token", "refresh_token": log_in(client)["refresh_token"]},
    ),
    "client_credentials": post(
        "/token", lambda client: {"grant_type": "client_credentials", "auth": add_client(client)}
    ),
    "revoke an access token": post("/revoke", lambda client: {"token": log_in(client)["access_token"]}),
    "revoke a refresh token": post("/revoke", lambda client: {"token": log_in(client)["refresh_token"]}),
    "clients add": command("clients", "add", "reports"),
    "clients set": command("clients", "set", "website", "--no-scope"),
    "clients set-secret": command("clients", "set-secret", "website"),
    "clients remove": command("clients", "remove", "website"),
    "users set-password": command("users", "set-password", "student1", stdin=GOOD_PASSWORD),
    "users set-roles": command("users", "set-roles", "student1"),
    "users disable": command("users", "disable", "student1"),
    "users delete": command("users", "delete", "student1"),
    "sessions revoke": command("sessions", "revoke", "SESSION"),
    "sessions revoke --user": command("sessions", "revoke", "--user", "student1"),
    "sessions revoke --all": command("sessions", "revoke", "--all"),
}


@pytest.mark.parametrize("prepare", ACTIONS.values(), ids=ACTIONS)
def test_database_failure_changes_nothing(
    prepare: Callable[[FlaskClient], Action], auth: FlaskClient
) -> None:
    action, engine = prepare(auth), engine_of(auth)
    before, number = snapshot(engine), 0

    while True:
        with failing(engine, number) as has_failed:
            is_done = action()
        if is_done:
            break
        assert has_failed()
        assert snapshot(engine) == before, f"at statement {number}"
        number += 1

    assert snapshot(engine) != before
    assert number >= 2


@pytest.mark.parametrize("number", range(12))
def test_failure_to_set_status_bits_is_retried_and_undoes_nothing(number: int, auth: FlaskClient) -> None:
    """Once the decision is committed, a failure neither causes a 503 nor loses the rest of the work."""
    log_in(auth)
    disable = by_administrator("PATCH", json={"is_disabled": True})(auth)
    engine = engine_of(auth)
    with failing(engine, 0) as _:
        assert not disable()
    statements = 0
    while True:
        with failing(engine, statements):
            if disable():
                break
        statements += 1

    jobs = sa.text("SELECT count(*) FROM revocation_jobs")
    unset = sa.text("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    with engine.connect() as connection:
        assert connection.scalar(jobs) == 1, "the first statement after the commit failed"
    with failing(engine, number):
        auth.get("/.well-known/status-list")
    if engine.dialect.name == "postgresql":  # which unlocks the rows of an interrupted connection later
        wait_for(lambda: is_unlocked(engine, "revocation_jobs"))
    auth.get("/.well-known/status-list")
    with engine.connect() as connection:
        assert connection.scalar(jobs) == 0
        assert connection.scalar(unset) == 1, "the administrator's own session"
