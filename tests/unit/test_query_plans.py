"""No request scans the sessions table, even if the database has no statistics."""

import secrets
import time
import uuid

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import AuthorizationCode, BrowserSession
from tests.conftest import add_client, bearer, both_databases, change_user, log_in, run_command
from tests.plans import find_scans, recorded
from tests.sessions import insert_sessions
from tests.sign_in import add_application, fields_of, get_code, get_tokens, new_browser, sign_in

COUNT = 20_000


@both_databases
def test_no_request_scans_the_sessions_table(auth: FlaskClient) -> None:
    log_in(auth, "teacher1")
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
    insert_sessions(engine, "student1", range(COUNT))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE sessions SET revoked_at = 1, revocation_mark = 1 WHERE status_index < 6000 "
                "AND created_at = 1"
            )
        )
    credentials = add_client(auth, "reports", "--resource", "http://127.0.0.1:8081")
    administrator = bearer(log_in(auth, "admin1")["access_token"])

    with recorded(engine) as statements:
        first, second = log_in(auth), log_in(auth)
        refreshed = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        assert auth.post("/token", data=refreshed).status_code == 200
        own = auth.post("/token", data={"grant_type": "client_credentials"}, auth=credentials).get_json()
        assert auth.get("/users/me", headers=bearer(second["access_token"])).status_code == 200
        for token in (second["access_token"], second["refresh_token"], own["access_token"]):
            assert auth.post("/introspect", data={"token": token}, auth=credentials).status_code == 200
        auth.get("/.well-known/status-list/1")
        auth.post("/revoke", data={"token": second["access_token"]})
        auth.post("/revoke", data={"token": own["access_token"]}, auth=credentials)
        auth.get("/.well-known/status-list/1")
        body = {"current_password": "password123", "new_password": f"a new password {time.time()}"}
        auth.put("/users/me/password", json=body, headers=bearer(first["access_token"]))
        change_user(auth, "student1", administrator, is_disabled=True)
        run_command(auth, "clients", "remove", "reports")

    assert len(statements) > 50
    assert find_scans(engine, statements, "sessions") == []


TABLES = ("sessions", "browser_sessions", "authorization_codes")


@both_databases
def test_no_sign_in_request_scans_a_whole_table(auth: FlaskClient) -> None:
    web, teacher, other = add_application(auth), new_browser(auth), new_browser(auth)
    sign_in(teacher, "teacher1")
    get_tokens(teacher, web)
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
    insert_sessions(engine, "teacher1", range(COUNT))
    with engine.begin() as connection:
        copy_row(connection, BrowserSession.__table__)
        copy_row(connection, AuthorizationCode.__table__)
        if engine.dialect.name == "postgresql":  # whose autovacuum does that a minute later; SQLite has none
            connection.execute(sa.text("ANALYZE"))

    with recorded(engine) as statements:
        sign_in(auth, "student1")
        sign_in(other, "student1")
        code = get_code(auth, web)
        assert web.redeem(auth, code).status_code == 200
        assert web.redeem(auth, code).status_code == 400
        assert auth.get("/account").status_code == 200
        form = fields_of(auth.get("/account"))
        assert auth.post("/account/end", data={**form, "others": "1"}).status_code == 303
        assert auth.post("/logout", data=fields_of(auth.get("/logout"))).status_code == 303

    assert len(statements) > 50
    assert [scan for table in TABLES for scan in find_scans(engine, statements, table)] == []


def copy_row(connection: sa.Connection, table: sa.FromClause) -> None:
    """Fill a table with copies of its row under new keys."""
    assert isinstance(table, sa.Table)
    row = dict(connection.execute(sa.select(table)).mappings().first() or {})
    keys = {"id": lambda: uuid.uuid4(), "token_hash": new_digest, "code_hash": new_digest}
    rows = [row | {key: make() for key, make in keys.items() if key in row} for _ in range(COUNT)]
    connection.execute(table.insert(), rows)


def new_digest() -> str:
    return secrets.token_hex(32)


@pytest.mark.parametrize("statement", ["SELECT count(*) FROM sessions WHERE scope = 'x'"])
@both_databases
def test_scan_is_detected(statement: str, auth: FlaskClient) -> None:
    """A control for the tests above."""
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine

    assert len(find_scans(engine, [(statement, None)], "sessions")) == 1
