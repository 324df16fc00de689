"""A downgrade keeps the data that the version before browser sign-in supports, and grants no new rights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import Client
from flask_resource_server.tokens.status_list import read_reference
from tests.conftest import (
    add_client,
    bearer,
    both_databases,
    change_row,
    find_user,
    get_token,
    log_in,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER, NEWCOMER
from tests.old_database import CLIENTS, SESSIONS, USERS, digest
from tests.sign_in import add_application, get_tokens, sign_in
from tests.status_bits import is_set
from tests.unit.test_upgrade import refresh

pytestmark = both_databases


@contextmanager
def downgraded(auth: FlaskClient) -> Iterator[sa.Connection]:
    """Downgrade a database to the previous version inside the block, and upgrade it again afterwards."""
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
        flask_migrate.downgrade(revision="0004")
        with engine.begin() as connection:
            yield connection
        flask_migrate.upgrade()


def describe(engine: sa.Engine) -> dict[str, Any]:
    inspector = sa.inspect(engine)
    return {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)),
            sorted((str(i["name"]), i["column_names"]) for i in inspector.get_indexes(name)),
            sorted((str(k["name"]), k["referred_table"]) for k in inspector.get_foreign_keys(name)),
        )
        for name in inspector.get_table_names()
    }


def test_downgraded_schema_is_that_of_the_previous_version(auth: FlaskClient) -> None:
    with downgraded(auth) as connection:
        found = describe(connection.engine)
    with auth.application.app_context():
        flask_migrate.downgrade(revision="base")
        flask_migrate.upgrade(revision="0004")
        engine = auth.application.extensions["sqlalchemy"].engine
        assert describe(engine) == found


def test_downgrade_keeps_the_data_that_the_previous_version_supports(auth: FlaskClient) -> None:
    run_command(auth, "users", "set", "student1", "--name", "Ann", "--email", "ann@example.com")
    reports = add_client(auth, "reports", "--scope", "courses:read")
    login, own = log_in(auth), auth.post("/token", data={"grant_type": "client_credentials"}, auth=reports)
    form = {"username": "teacher1", "password": "password456"}
    through_client = auth.post("/token", data=form, auth=reports).get_json()
    before = find_user(auth, "student1")

    with downgraded(auth) as connection:
        users = {row.username: row for row in connection.execute(sa.select(USERS))}
        (client,) = connection.execute(sa.select(CLIENTS)).all()
        sessions = connection.execute(sa.select(SESSIONS)).all()

    assert users.keys() == {"student1", "teacher1", "admin1"}
    for name in USERS.c.keys():  # noqa: SIM118  # columns, not a dictionary
        assert getattr(users["student1"], name) == getattr(before, name)
    assert (client.id, client.secret_hash, client.scopes) == ("reports", digest(reports[1]), ["courses:read"])
    assert (client.resources, client.removed_at) == ([ISSUER, COURSES, NEWCOMER], None)
    assert client.session_id in {session.id for session in sessions}
    assert [session.revoked_at for session in sessions] == [None] * 3
    assert refresh(auth, login["refresh_token"]).status_code == 200
    assert refresh(auth, through_client["refresh_token"], reports).status_code == 200
    again = auth.post("/token", data={"grant_type": "client_credentials"}, auth=reports).get_json()
    old_claims = read_claims(own.get_json()["access_token"])
    assert read_reference(read_claims(again["access_token"])) == read_reference(old_claims)


def add_removed_client(auth: FlaskClient) -> None:
    add_application(auth, "gone", "--public")
    assert run_command(auth, "clients", "remove", "gone").exit_code == 0


def test_downgrade_removes_clients_that_would_gain_rights(auth: FlaskClient) -> None:
    """The previous version lets every client get tokens of its own and log users in by password."""
    add_application(auth, "page", "--public")
    add_application(auth, "website")
    add_application(auth, "both", "--grant", "client_credentials")
    add_removed_client(auth)

    with downgraded(auth) as connection:
        clients = {row.id: row for row in connection.execute(sa.select(CLIENTS))}

    assert clients.keys() == {"both", "gone"}
    assert (clients["gone"].secret_hash, clients["gone"].removed_at is None) == ("", False)
    assert "was removed" in run_command(auth, "clients", "add", "gone").stderr


def sign_in_at(auth: FlaskClient) -> dict[str, Any]:
    application = add_application(auth, "web", "--refresh-token", "always", "--grant", "password")
    sign_in(auth)
    return get_tokens(auth, application)


def log_in_by_public_client(auth: FlaskClient) -> dict[str, Any]:
    options = ("--public", "--grant", "password", "--scope", "courses:read")
    assert run_command(auth, "clients", "add", "terminal", *options).exit_code == 0
    return log_in(auth, client_id="terminal")


ENDED: dict[str, Callable[[FlaskClient], dict[str, Any]]] = {
    "sign-in": sign_in_at,
    "public client": log_in_by_public_client,
}


@pytest.mark.parametrize("is_revoked", [False, True], ids=["live", "revoked"])
@pytest.mark.parametrize("begin", ENDED.values(), ids=ENDED)
def test_session_that_the_previous_version_does_not_support_is_revoked(
    begin: Callable[[FlaskClient], dict[str, Any]], is_revoked: bool, auth: FlaskClient
) -> None:
    token = begin(auth)["access_token"]
    place = read_reference(read_claims(token))
    if is_revoked:
        run_command(auth, "sessions", "revoke", read_claims(token)["sid"])
    assert is_set(auth, *place) == is_revoked

    with downgraded(auth):
        pass

    auth.application.extensions["signed_status_lists"].clear()  # as in a new process
    assert is_set(auth, *place)
    assert auth.get("/users/me", headers=bearer(token)).status_code == 401
    assert not is_set(auth, *read_reference(read_claims(get_token(auth))))


def test_downgrade_publishes_a_newer_status_list(auth: FlaskClient) -> None:
    """Otherwise verifiers, which never accept an older list, would keep the previous one."""
    uri, _ = read_reference(read_claims(sign_in_at(auth)["access_token"]))
    path = uri.removeprefix(ISSUER)
    before = read_claims(auth.get(path).text)

    with downgraded(auth):
        pass

    assert read_claims(auth.get(path).text)["iat"] > before["iat"]


def test_custom_first_party_client_does_not_break_the_next_upgrade(auth: FlaskClient) -> None:
    change_row(auth, sa.delete(Client))
    options = ("--grant", "password", "--grant", "client_credentials")
    assert run_command(auth, "clients", "add", "first-party", *options).exit_code == 0

    with downgraded(auth):
        pass

    assert log_in(auth)
