"""Measure how the cost of a request grows with the number of courses, sessions and keys.

Two applications that differ in one number get the same requests alternately, in one process.
"""

import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import case, func, insert, null, select, update

import auth_app
import course_app
from auth_app.database import db as auth_db
from auth_app.keys.rotation import generate_key_pair
from auth_app.models import Session, StatusList, User
from auth_app.settings import AuthSettings
from course_app.database import db as course_db
from course_app.models import Course
from course_app.settings import CourseSettings
from flask_resource_server.tokens.status_list import PATH, parse_status_list

ROUNDS = 400
MANY_COURSES, MANY_SESSIONS, MANY_KEYS = 100_000, 1_000_000, 20

Request = Callable[[], None]
Growth = list[tuple[str, float, float]]
Lists = list[tuple[str, int, float, float]]


def measure_growth() -> tuple[Growth, Lists]:
    """Return costs in microseconds for few and for many of something, and those of status lists.

    For lists with various shares of revoked tokens: the size in bytes as sent, and the milliseconds to create
    and to read the list.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate_key_pair(folder / "private_key.pem", folder / "public_key.pem")
        few, many = _auth(folder, 10), _auth(folder, MANY_SESSIONS)
        short, long, keyed = (
            _course(folder, 10),
            _course(folder, MANY_COURSES),
            _course(folder, 10, MANY_KEYS),
        )
        login = _log_in(few)
        first, last = "/courses?limit=10", f"/courses?limit=10&after={MANY_COURSES - 10}"
        pairs: list[tuple[str, Request, Request]] = [
            ("first page of 10 or 100,000 courses", _get(short, first, login), _get(long, first, login)),
            ("first page of 10, last of 100,000 courses", _get(short, first, login), _get(long, last, login)),
            ("known token, 1 or 20 keys", _get(short, first, login), _get(keyed, first, login)),
            ("new token, 1 or 20 keys", _get(short, first, login, True), _get(keyed, first, login, True)),
            ("session looked up, 10 or 1,000,000", _get_self(few), _get_self(many)),
            ("session refreshed, 10 or 1,000,000", _refresh(few), _refresh(many)),
        ]
        growth = [(name, *_compare(with_few, with_many)) for name, with_few, with_many in pairs]
        return growth, [_measure_list(many, share) for share in (0.001, 0.01, 0.1)]


def _compare(with_few: Request, with_many: Request) -> tuple[float, float]:
    pairs = [(_time(with_few), _time(with_many)) for _ in range(ROUNDS)]
    return median(few for few, _ in pairs), median(many for _, many in pairs)


def _time(request: Request) -> float:
    started = time.perf_counter()
    request()
    return (time.perf_counter() - started) * 1e6


def _measure_list(client: FlaskClient, share: float) -> tuple[str, int, float, float]:
    with client.application.app_context():
        is_revoked, now = func.abs(func.random() % 1000) < share * 1000, time.time()
        revoked_at = case((is_revoked, 1), else_=null())
        auth_db.session.execute(update(Session).values(revoked_at=revoked_at, revocation_mark=now))
        auth_db.session.execute(update(StatusList).values(version=str(share), changed_at=now))
        auth_db.session.commit()
    client.application.extensions["signed_status_lists"].clear()  # as in a process that has just started
    started = time.perf_counter()
    body = client.get(f"{PATH}/1", headers={"Accept-Encoding": "gzip"}).data
    made = time.perf_counter()
    token, uri = gzip.decompress(body).decode(), f"{client.application.extensions['settings'].issuer}{PATH}/1"
    parse_status_list(token, uri, client.application.extensions["public_keys"])
    read = time.perf_counter()
    return f"{share:.1%}", len(body), (made - started) * 1000, (read - made) * 1000


def _get(client: FlaskClient, path: str, login: dict[str, str], is_new: bool = False) -> Request:
    def get() -> None:
        if is_new:  # as if the token had never been seen
            client.application.extensions["flask_resource_server"].verifier._cache._tokens.clear()
        response = client.get(path, headers={"Authorization": f"Bearer {login['access_token']}"})
        assert response.status_code == 200

    return get


def _get_self(client: FlaskClient) -> Request:
    return _get(client, "/users/me", _log_in(client))


def _refresh(client: FlaskClient) -> Request:
    login = _log_in(client)

    def refresh() -> None:
        form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
        login.update(client.post("/token", data=form).get_json())

    return refresh


def _log_in(client: FlaskClient) -> dict[str, str]:
    response = client.post("/token", data={"username": "student1", "password": "password123"})
    tokens: dict[str, str] = response.get_json()
    return tokens


def _auth(folder: Path, sessions: int) -> FlaskClient:
    """Return a client of an authorization server with so many sessions."""
    app = auth_app.create_app(
        AuthSettings(
            auth_database_url=SecretStr(f"sqlite:///{folder}/auth-{sessions}.db"),
            jwt_private_key_file=folder / "private_key.pem",
            jwt_public_key_file=folder / "public_key.pem",
        )
    )
    _run(app, "db upgrade", "demo-data")
    with app.app_context():
        user = auth_db.session.scalars(select(User.id)).first()
        auth_db.session.add(StatusList(id=1, size=2**20, closes_at=2**40))
        auth_db.session.flush()
        row: dict[str, object] = {
            "user_id": user,
            "client_id": "first-party",
            "scope": "",
            "resources": [],
            "refresh_token_hash": "",
        }
        row |= {"created_at": 0, "expires_at": 2**40, "status_list_id": 1}
        for start in range(0, sessions, 10_000):
            numbers = range(start, min(start + 10_000, sessions))
            rows = [row | {"family_hash": f"{n:064}", "status_index": n} for n in numbers]
            auth_db.session.execute(insert(Session), rows)
        auth_db.session.commit()
    return app.test_client()


def _course(folder: Path, courses: int, keys: int = 1) -> FlaskClient:
    """Return a client of a course service with so many courses that knows so many keys."""
    published = folder / f"public_keys_{keys}.pem"
    others = [generate_private_key(65537, 2048).public_key() for _ in range(keys - 1)]
    pems = [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in others]
    published.write_bytes(b"".join([*pems, (folder / "public_key.pem").read_bytes()]))
    url = SecretStr(f"sqlite:///{folder}/course-{courses}.db")
    app = course_app.create_app(
        CourseSettings(course_database_url=url, jwt_public_key_file=published, status_claim="ignored")
    )
    _run(app, "db upgrade")
    with app.app_context():
        if not course_db.session.scalar(select(Course.id)):
            rows = [{"title": f"Course {n}", "description": ""} for n in range(courses)]
            course_db.session.execute(insert(Course), rows)
            course_db.session.commit()
    return app.test_client()


def _run(app: Flask, *commands: str) -> None:
    for command in commands:
        app.test_cli_runner(catch_exceptions=False).invoke(args=command.split())
