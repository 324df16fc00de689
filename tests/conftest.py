"""Fixtures: real keys, real databases, and test clients that check every response against the contract."""

import gc
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

import auth_app
import course_app
from auth_app.keys.rotation import generate_key_pair
from auth_app.models import User
from auth_app.settings import AuthSettings
from course_app.settings import CourseSettings
from flask_resource_server.tokens.keys import thumbprint
from shared.contract import Contract, path_of
from tests.caches import share_compiled, share_parsed_files
from tests.databases import drop_all_databases, fill_database, make_databases, serve_postgresql
from tests.forger import Forger
from tests.secrets import LogWatch, find_secrets, remember
from tests.servers import Pair, listen, serve_pair

SETTINGS = {name.upper() for kind in (AuthSettings, CourseSettings) for name in kind.model_fields}

both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that open a database, directly or through an application: `scripts/test fast` skips them.

    Put the unit tests last: their files are short, so that all processors are busy until the end.
    """
    for item in items:
        if {"new_database", "services", "pair"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.database)
    items.sort(key=lambda item: item.path.parent.name == "unit")


def pytest_collection_finish() -> None:
    """Exclude thousands of tests and modules from garbage collections, which took 0.1 s each with them."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hosts", action="store_true", help="make network namespaces and test across them")
    parser.addoption("--screenshots", type=lambda name: Path(name).absolute(), help="where pictures go")


@dataclass(frozen=True)
class KeyPair:
    """Two PEM files, and the private key."""

    private_file: Path
    public_file: Path

    @property
    def private_key(self) -> RSAPrivateKey:
        return _parse_private_key(self.private_file.read_bytes())

    @property
    def kid(self) -> str:
        return thumbprint(self.private_key.public_key())


@cache  # validating a key takes ten times as long as signing with it
def _parse_private_key(pem: bytes) -> RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate tests from the environment and the files of the developer who runs them."""
    for name in os.environ:
        if name.startswith("JWT_") or name in SETTINGS:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _shared_parsed_files() -> Iterator[None]:
    with share_parsed_files():
        yield


@pytest.fixture(scope="session")
def log_watch() -> Iterator[LogWatch]:
    watch = LogWatch()
    logging.getLogger().addHandler(watch)
    yield watch
    logging.getLogger().removeHandler(watch)


@pytest.fixture(autouse=True)
def _log_no_secret(log_watch: LogWatch) -> Iterator[None]:
    log_watch.lines.clear()
    yield
    assert find_secrets("\n".join(log_watch.lines)) == []


@pytest.fixture(scope="session")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def other_key_pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(tmp_path_factory.mktemp("other"))


def make_key_pair(folder: Path) -> KeyPair:
    pair = KeyPair(folder / "private_key.pem", folder / "public_key.pem")
    generate_key_pair(pair.private_file, pair.public_file)
    return pair


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    """A PostgreSQL server: the one in TEST_DATABASE_URL, or a new one on a socket."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield sa.make_url(url)
        drop_all_databases(sa.make_url(url))
        return
    with serve_postgresql() as server:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield sa.make_url(server.get_uri())


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", "sqlite")
    return kind


@pytest.fixture
def new_database(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Yield a function that returns the URL of a database that does not exist yet."""
    with make_databases(backend, request, tmp_path) as make:
        yield make


class CheckingClient(FlaskClient):
    """A test client that checks every response against the openapi.yml of its application."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        remember(kwargs.get("data"))
        remember(kwargs.get("json"))
        response = super().open(*args, **{**kwargs, "buffered": True})
        remember(response.get_json(silent=True))
        check_response(self.application, response)
        return response


def check_response(app: Flask, response: TestResponse) -> None:
    contract: Contract = app.extensions["contract"]
    method = response.request.method
    assert "Content-Security-Policy" in response.headers
    try:
        rule, _ = app.url_map.bind("localhost").match(response.request.path, method, return_rule=True)
        operation = contract.document["paths"][path_of(rule.rule)][method.lower()]
    except (HTTPException, KeyError):  # the contract does not have this address or method
        if response.status_code >= 400 and method != "HEAD" and response.mimetype != "text/html":
            assert contract.schema("components", "schemas", "Error").find_fault(response.json) is None
        return
    status = str(response.status_code) if str(response.status_code) in operation["responses"] else "default"
    assert status != "default" or response.status_code >= 400, f"{response.status_code} is not documented"
    pointer: tuple[str, ...] = ("paths", path_of(rule.rule), method.lower(), "responses", status)
    documented = operation["responses"][status]
    if "$ref" in documented:
        pointer = tuple(documented["$ref"].removeprefix("#/").split("/"))
        documented = contract.document["components"]["responses"][pointer[-1]]
    for name in documented.get("headers", {}):
        value = response.headers.get(name, "")
        error = contract.schema(*pointer, "headers", name, "schema").find_fault(value)
        assert error is None, f"{name}: {error}"
    if "content" not in documented:
        assert response.data == b""
        return
    if response.content_encoding:
        return
    body = response.json if response.is_json else response.text
    error = contract.schema(*pointer, "content", response.mimetype or "", "schema").find_fault(body)
    assert error is None, f"the body: {error}"


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """The authorization server with the demo users."""
    with open_auth(new_database(), key_pair) as client:
        yield client


@pytest.fixture
def course(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """The course service with the demo courses."""
    with open_course(new_database(), key_pair) as client:
        yield client


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both services under gunicorn, on free ports; for screenshots, on the ports of the README."""
    ports = (8081, 8082) if request.config.getoption("--screenshots") else (0, 0)
    listeners = (listen(ports[0]), listen(ports[1]))
    with serve_pair(tmp_path_factory.mktemp("pair"), listeners) as running:
        yield running


@pytest.fixture(params=["auth", "course"])
def service(request: pytest.FixtureRequest, backend: str) -> FlaskClient:
    """One of the two services, then the other."""
    client: FlaskClient = request.getfixturevalue(request.param)
    return client


@pytest.fixture(scope="session")
def forger(key_pair: KeyPair) -> Forger:
    """Signs with the issuer's own key."""
    return Forger(key_pair.private_key, key_pair.kid)


@pytest.fixture(scope="session")
def attacker(key_pair: KeyPair, other_key_pair: KeyPair) -> Forger:
    """Signs with a key of its own, under the key ID of the issuer's."""
    return Forger(other_key_pair.private_key, key_pair.kid)


# The least that argon2 can compute, because nearly every test logs in. The settings refuse such costs.
CHEAP_HASHES = {"argon2_memory": 8, "argon2_passes": 1}


@contextmanager
def open_auth(url: str, key_pair: KeyPair, **settings: Any) -> Iterator[FlaskClient]:
    """Open an authorization server, with `CHEAP_HASHES` unless `settings` have costs of their own."""
    checked = AuthSettings(
        auth_database_url=SecretStr(url),
        jwt_private_key_file=key_pair.private_file,
        jwt_public_key_file=key_pair.public_file,
        **settings,
    )
    costs = {} if CHEAP_HASHES.keys() & settings.keys() else CHEAP_HASHES
    app = auth_app.create_app(checked.model_copy(update=costs))
    with _open(app) as client:
        yield client


@contextmanager
def open_course(url: str, key_pair: KeyPair | None, **settings: Any) -> Iterator[FlaskClient]:
    if key_pair:
        settings["jwt_public_key_file"] = key_pair.public_file
    settings = {"status_claim": "ignored"} | settings  # there is no issuer with status lists
    app = course_app.create_app(CourseSettings(course_database_url=SecretStr(url), **settings))
    with _open(app) as client:
        yield client


@contextmanager
def _open(app: Flask) -> Iterator[FlaskClient]:
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    share_compiled(app, engine)
    fill_database(app, engine)
    app.test_client_class = CheckingClient
    yield app.test_client()
    engine.dispose()


def find_user(client: FlaskClient, username: str) -> User:
    with client.application.app_context():
        db = client.application.extensions["sqlalchemy"]
        user: User = db.session.scalars(sa.select(User).where(User.username == username)).one()
        return user


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def change_user(
    client: FlaskClient, username: str, headers: dict[str, str], method: str = "PATCH", **changes: Any
) -> TestResponse:
    """Change a user as an administrator who has just fetched the user does."""
    path = f"/users/{find_user(client, username).id}"
    tag = client.get(path, headers=headers).headers["ETag"]
    body = changes or None
    return client.open(path, method=method, json=body, headers={**headers, "If-Match": tag})


PASSWORDS = {"student1": "password123", "teacher1": "password456", "admin1": "password789"}


def log_in(client: FlaskClient, username: str = "student1", **changes: Any) -> dict[str, Any]:
    """Return the response to a password grant, which must succeed."""
    form = {"username": username, "password": PASSWORDS.get(username)} | changes
    response = client.post("/token", data=form)
    assert response.status_code == 200, response.text
    assert isinstance(response.json, dict)
    return response.json


def get_token(client: FlaskClient, username: str = "student1", **changes: Any) -> str:
    token: str = log_in(client, username, **changes)["access_token"]
    return token


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def run_command(client: FlaskClient, *arguments: str, stdin: str = "") -> Result:
    """Run a command of the application, as `flask --app` does."""
    return client.application.test_cli_runner().invoke(args=arguments, input=stdin)


def add_client(client: FlaskClient, client_id: str = "reports", *options: str) -> tuple[str, str]:
    """Register a client and return its ID and secret, for HTTP Basic."""
    grants = ("--grant", "client_credentials", "--grant", "password")
    result = run_command(client, "clients", "add", client_id, "--json", *grants, *options)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    remember(answer)
    return answer["client_id"], answer["client_secret"]


def change_row(client: FlaskClient, statement: sa.Update | sa.Delete) -> None:
    """Change the application's database directly."""
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        session.execute(statement)
        session.commit()


def find_browser() -> str | None:
    """Return the path of the system's Chromium, or None to use the one that Playwright has installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
