"""No page scans a whole table, however many rows it has."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from auth_app.models import (
    AuthorizationCode,
    BrowserSession,
    ClientAssertion,
    KnownAddress,
    LoginFailure,
    Session,
    User,
)
from tests.assertions import add_signing_client, assertion_form
from tests.conftest import (
    KeyPair,
    bearer,
    both_databases,
    find_user,
    log_in,
)
from tests.forger import Forger
from tests.plans import find_scans, recorded
from tests.sessions import insert_sessions
from tests.sign_in import (
    CALLBACK,
    add_application,
    fields_of,
    get_code,
    get_tokens,
    new_browser,
    sign_in,
    submit_sign_in,
)
from tests.unit.test_known_addresses import insert_rows

COUNT = 20_000


TABLES = (
    "sessions",
    "browser_sessions",
    "authorization_codes",
    "users",
    "known_addresses",
    "login_failures",
    "client_assertions",
)


@both_databases
def test_no_page_scans_a_whole_table(auth: FlaskClient, tmp_path: Path, other_key_pair: KeyPair) -> None:
    """Nor do code exchanges and client assertions: anyone can send requests to the sign-in server."""
    log_in(auth, "teacher1")
    web = add_application(auth)
    signer = Forger(other_key_pair.private_key, "key")
    add_signing_client(auth, signer, tmp_path)
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
    insert_sessions(engine, "teacher1", range(COUNT))
    analyze(auth, Session)
    fill(auth)
    phone = new_browser(auth)
    sign_in(phone)

    with recorded(engine) as statements:
        submit_sign_in(auth, auth.get("/login"), "student1", "wrong")
        submit_sign_in(auth, auth.get(web.url()), "student1", "password123")
        code = get_code(auth, web, scope="openid offline_access")
        tokens = web.redeem(auth, code).get_json()
        assert auth.get("/userinfo", headers=bearer(tokens["access_token"])).status_code == 200
        assert web.redeem(auth, code).status_code == 400
        assert auth.get("/account").status_code == 200
        assert auth.get("/account/password").status_code == 200
        form = {"current_password": "password123", "new_password": f"a new password {time.time()}"}
        form |= fields_of(auth.get("/account/password"))
        form["repeated_password"] = form["new_password"]
        assert auth.post("/account/password", data=form).status_code == 303
        get_tokens(auth, web)
        form_token = fields_of(auth.get("/account/password"))["form_token"]
        auth.post("/account/end", data={"form_token": form_token, "others": "1"})
        tokens = get_tokens(auth, web)
        assert auth.get(f"/logout?id_token_hint={tokens['id_token']}").status_code == 303
        grant = {"grant_type": "client_credentials", **assertion_form(signer)}
        assert auth.post("/token", data=grant).status_code == 200

    assert len(statements) > 80
    scans = [scan for table in TABLES for scan in find_scans(engine, statements, table)]
    assert scans == []


def fill(client: FlaskClient) -> None:
    """Store the rows that many users and attackers would leave, the same number in each table."""
    people = [uuid.uuid4() for _ in range(COUNT)]
    now, student = int(time.time()), find_user(client, "student1")
    hashes = {name: getattr(student, name) for name in ("password_hash", "password_parameters")}
    times = {"created_at": now, "authenticated_at": now, "last_used_at": now, "expires_at": now + 9999}
    rows: dict[type, Callable[[int], dict[str, Any]]] = {
        User: lambda n: {"id": people[n], "username": f"person{n}", "roles": [], **hashes},
        BrowserSession: lambda n: {
            "user_id": people[n], "token_hash": str(n), "generation": 0, "address": "", **times,
        },
        AuthorizationCode: lambda n: {
            "code_hash": str(n), "client_id": "web", "redirect_uri": CALLBACK, "code_challenge": "x",
            "browser_session_id": people[n], "scope": "", "resources": [], "auth_time": now,
            "expires_at": now + 9999,
        },
        KnownAddress: lambda n: {"user_id": people[n], "address": str(n), "last_login_at": now},
        LoginFailure: lambda n: {"account": str(n), "address": str(n), "failed_at": float(now)},
        ClientAssertion: lambda n: {"jti_hash": str(n), "expires_at": now + 9999},
    }  # fmt: skip
    for model, make in rows.items():
        insert_rows(client, model, [make(n) for n in range(COUNT)])
        analyze(client, model)


def analyze(client: FlaskClient, model: type) -> None:
    """Have PostgreSQL analyze a table: without statistics it assumes that a third of the rows has expired."""
    with client.application.app_context():
        engine = client.application.extensions["sqlalchemy"].engine
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.exec_driver_sql(f"ANALYZE {model.__tablename__}")  # type: ignore[attr-defined]
