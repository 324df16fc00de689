"""Measure the requests of auth_app with a million sessions in its database: `python -m bench.sessions`.

Prints the median milliseconds of each request, with few sessions and with many, on SQLite and on PostgreSQL.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from pydantic import SecretStr

import auth_app
from auth_app.keys.rotation import generate_key_pair
from auth_app.models import StatusList
from auth_app.settings import AuthSettings
from tests.databases import serve_postgresql
from tests.plans import find_scans, recorded
from tests.sessions import insert_sessions
from tests.sign_in import add_application, get_code, new_browser, sign_in

MANY, REVOKED, FEW, ROUNDS = 1_000_000, 300_000, 10, 9
PASSWORDS = {"student1": "password123", "teacher1": "password456", "admin1": "password789"}
PATH = "/.well-known/status-list/1"


@contextmanager
def open_auth(url: str, sessions: int, folder: Path) -> Iterator[FlaskClient]:
    """Serve an authorization server in which teacher1 has so many sessions."""
    app = auth_app.create_app(
        AuthSettings(
            auth_database_url=SecretStr(url),
            sessions_per_user=10**7,
            jwt_private_key_file=folder / "private_key.pem",
            jwt_public_key_file=folder / "public_key.pem",
        )
    )
    for command in (["db", "upgrade"], ["demo-data"]):
        app.test_cli_runner(catch_exceptions=False).invoke(args=command)
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
        app.extensions["sqlalchemy"].session.add(StatusList(id=1, size=2**21, closes_at=2**40))
        app.extensions["sqlalchemy"].session.commit()
    insert_sessions(engine, "teacher1", range(sessions))
    revoked = "UPDATE sessions SET revoked_at = 1, revocation_mark = 1 WHERE status_index < :count"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(revoked), {"count": sessions * REVOKED // MANY})
    yield app.test_client()
    engine.dispose()


def measure(client: FlaskClient) -> dict[str, float]:
    """Return the milliseconds of each request, and report requests that read all sessions."""
    with client.application.app_context():
        engine = client.application.extensions["sqlalchemy"].engine
    added = client.application.test_cli_runner().invoke(args=["clients", "add", "reports"])
    credentials = ("reports", added.stdout.split()[-1])
    login = _log_in(client)
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    signed = client.application.extensions["signed_status_lists"]

    def refresh() -> None:
        form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
        login.update(client.post("/token", data=form).get_json())

    def post(path: str, auth: tuple[str, str] | None = None, **form: str) -> Callable[[], object]:
        return lambda: client.post(path, data=form, auth=auth)

    web, browser, codes = add_application(client), new_browser(client), []
    sign_in(browser)

    tokens = iter([_log_in(client)["access_token"] for _ in range(2 * ROUNDS + 2)])
    requests: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "login": (nothing, lambda: _log_in(client)),
        "refresh": (nothing, refresh),
        "client_credentials": (nothing, post("/token", credentials, grant_type="client_credentials")),
        "session lookup": (nothing, lambda: client.get("/users/me", headers=headers)),
        "sign-in page": (nothing, lambda: client.get("/login")),
        "authorize, signed in": (nothing, lambda: browser.get(web.url())),
        "code exchange": (
            lambda: codes.append(get_code(browser, web)),
            lambda: web.redeem(browser, codes.pop()),
        ),
        "introspect": (nothing, post("/introspect", credentials, token=login["access_token"])),
        "revoke": (nothing, lambda: client.post("/revoke", data={"token": next(tokens)})),
        "first fetch of a list in a process": (signed.clear, lambda: client.get(PATH)),
        "fetch after one revocation": (
            lambda: client.post("/revoke", data={"token": next(tokens)}),
            lambda: client.get(PATH),
        ),
        "fetch of an unchanged list": (nothing, lambda: client.get(PATH)),
    }
    figures = {}
    with recorded(engine) as statements:
        for name, (prepare, request) in requests.items():
            figures[name] = median(_clock(prepare, request) for _ in range(ROUNDS))
        figures["disable a user with all of the sessions"] = _clock(nothing, lambda: _disable(client))
        before = _count_pending(engine)
        spent = _clock(nothing, lambda: client.get("/.well-known/status-list"))
        if done := before - _count_pending(engine):
            figures["the bits of 1,000 of them, in batches"] = spent * 1000 / done
    for scan in find_scans(engine, statements, "sessions"):
        print("reads all sessions:", scan, flush=True)
    return figures


def nothing() -> None:
    """Do nothing: the request needs no preparation."""


def _clock(prepare: Callable[[], object], request: Callable[[], object]) -> float:
    prepare()
    started = time.perf_counter()
    request()
    return (time.perf_counter() - started) * 1000


def _log_in(client: FlaskClient, username: str = "student1") -> dict[str, Any]:
    form = {"username": username, "password": PASSWORDS[username]}
    answer: dict[str, Any] = client.post("/token", data=form).get_json()
    return answer


def _disable(client: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {_log_in(client, 'admin1')['access_token']}", "If-Match": "*"}
    page = client.get("/users", headers=headers).get_json()["users"]
    teacher = next(user["id"] for user in page if user["username"] == "teacher1")
    response = client.patch(f"/users/{teacher}", json={"is_disabled": True}, headers=headers)
    assert response.status_code == 200


def _count_pending(engine: sa.Engine) -> int:
    statement = "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE revoked_at IS NULL "
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        pending = connection.execute(sa.text(statement + "AND generation < session_generation"))
        count: int = pending.scalar_one()
        return count


def main() -> None:
    """Measure the given databases, or both."""
    with tempfile.TemporaryDirectory() as name, serve_postgresql() as server:
        folder = Path(name)
        generate_key_pair(folder / "private_key.pem", folder / "public_key.pem")
        for backend in sys.argv[1:] or ["sqlite", "postgresql"]:
            columns = []
            for sessions in (FEW, MANY):
                url = f"sqlite:///{folder}/{sessions}.db"
                if backend == "postgresql":
                    server.psql(f"CREATE DATABASE bench_{sessions}")
                    url = str(server.get_uri(database=f"bench_{sessions}"))
                with open_auth(url, sessions, folder) as client:
                    columns.append(measure(client))
            print(f"| {backend} | {FEW} sessions, in ms | {MANY:,}, in ms |\n| --- | --- | --- |")
            for request in columns[0]:
                print(f"| {request} | {columns[0][request]:.1f} | {columns[1][request]:.1f} |")


if __name__ == "__main__":
    main()
