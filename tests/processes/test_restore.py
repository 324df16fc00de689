"""Restoring a backup with the commands of docs/how-to/operate.md does not undo later decisions."""

import json
import os
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa

from shared.logs import format_time
from tests.bash import run_bash
from tests.conftest import PASSWORDS, bearer
from tests.databases import serve_postgresql
from tests.secrets import remember
from tests.servers import ROOT, Server, call, copy_home, listen, serve

PAGE = (ROOT / "docs/how-to/operate.md").read_text()
BACK_UP = PAGE.partition("## Back up\n")[2].partition("\n## ")[0]
RESTORE = PAGE.partition("## Restore\n")[2].partition("\n### ")[0]
VARIABLES, COPY, CHECK = re.findall(r"```sh\n(.*?)```", BACK_UP, re.DOTALL)
RESTORE_DATABASES, RESTORE_POSTGRESQL, RESTORE_KEYS = re.findall(r"```console\n(.*?)```", RESTORE, re.DOTALL)
DUMP = re.findall(r"```console\n(mkdir.*?)```", BACK_UP, re.DOTALL)[0]
RECIPE = re.search(r"### After restoring auth_app.*?```console\n(.*?)```", PAGE, re.DOTALL)
GREP = re.search(r"`(grep key_revoked .*?)`", PAGE)
NEW_PASSWORD = "correct horse battery"


@dataclass
class Issuer:
    """auth_app with its files in one folder, as in a deployment with SQLite."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        copy_home("auth", self.folder)
        copy_home("course", self.folder)
        (self.folder / "instance").mkdir()
        for name in ("auth.db", "course.db"):
            (self.folder / name).rename(self.folder / "instance" / name)
        self.environment = {"AUTH_DATABASE_URL": f"sqlite:///{self.folder}/instance/auth.db"}

    @contextmanager
    def serve(self) -> Iterator[Server]:
        with listen() as listener, serve("wsgi_auth", listener, self.environment, self.folder) as server:
            yield server

    def flask(self, *arguments: str, stdin: str = "") -> str:
        """Run a command and return what it prints; its log goes to the file that the page names."""
        return self.run(
            f"{sys.executable} -m flask --app wsgi_auth {' '.join(arguments)} 2>> commands.log", stdin
        )

    def run(self, script: str, stdin: str = "") -> str:
        return run_bash(script, self.environment, self.folder, stdin)

    def back_up(self) -> None:
        self.run(VARIABLES + COPY)

    def restore(self) -> None:
        wal = self.folder / "instance/auth.db-wal"
        assert wal.stat().st_size > 0, "the old database has left a log"
        self.run(VARIABLES + RESTORE_DATABASES + RESTORE_KEYS)
        assert not wal.exists()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def log_in(server: Server, username: str, password: str | None = None) -> tuple[int, dict[str, str]]:
    form = {"username": username, "password": password or PASSWORDS[username]}
    return call(f"{server.url}/token", form=form)


def send(server: Server, method: str, path: str, body: Mapping[str, object], token: str) -> None:
    remember(body)
    request = urllib.request.Request(
        server.url + path,
        json.dumps(body).encode(),
        {**bearer(token), "Content-Type": "application/json", "If-Match": "*"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status in {200, 204}


def ask_for_client_token(server: Server, secret: str) -> int:
    form = {"grant_type": "client_credentials", "client_id": "reports", "client_secret": secret}
    return call(f"{server.url}/token", form=form)[0]


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def test_restoring_a_backup_does_not_undo_later_decisions(issuer: Issuer) -> None:
    secret = json.loads(issuer.flask("clients", "add", "reports", "--scope", "courses:read", "--json"))
    remember(secret)
    issuer.flask("users", "add", "ada", "--role", "admin", stdin=f"{NEW_PASSWORD}\n")
    backed_up_at = format_time(time.time())
    with issuer.serve() as server:
        admin = log_in(server, "admin1")[1]["access_token"]
        ids = {name: jwt_subject(log_in(server, name)[1]) for name in ("student1", "teacher1")}
        ids["ada"] = jwt_subject(log_in(server, "ada", NEW_PASSWORD)[1])
        stolen = log_in(server, "student1")[1]
        issuer.back_up()

        student = log_in(server, "student1")[1]["access_token"]
        change = {"current_password": PASSWORDS["student1"], "new_password": NEW_PASSWORD}
        send(server, "PUT", "/users/me/password", change, student)
        send(server, "PATCH", f"/users/{ids['teacher1']}", {"is_disabled": True}, admin)
        send(server, "PATCH", f"/users/{ids['ada']}", {"roles": ["student"]}, admin)
        issuer.flask("clients", "remove", "reports")
        old_kid = kid_of(admin)
        issuer.flask("keys", "revoke", old_kid)
    assert GREP
    assert old_kid in issuer.run(GREP[1])
    issuer.restore()
    shutil.copy(server.log, issuer.folder / "auth.log")

    assert RECIPE
    said = issuer.run(RECIPE[1].replace("2026-11-25T03:00:00Z", backed_up_at))
    assert "run `users set-password student1`, then `users enable student1`" in said
    assert re.search(rf"{old_kid} +revoked ", said)
    issuer.flask("keys", "revoke", old_kid)

    with issuer.serve() as server:
        assert log_in(server, "student1")[0] == 400, "the old password"
        assert log_in(server, "teacher1")[0] == 400, "the disabled user"
        assert "users:manage" not in log_in(server, "ada", NEW_PASSWORD)[1]["scope"], "the old role"
        assert ask_for_client_token(server, secret["client_secret"]) == 401, "the removed client"
        form = {"grant_type": "refresh_token", "refresh_token": stolen["refresh_token"]}
        assert call(f"{server.url}/token", form=form)[0] == 400, "the ended session"
        assert call(f"{server.url}/users/me", stolen["access_token"])[0] == 401
        key_set = call(f"{server.url}/.well-known/jwks.json")[1]
        assert old_kid not in {key["kid"] for key in key_set["keys"]}, "the revoked key"
        issuer.flask("users", "set-password", "student1", stdin=f"{NEW_PASSWORD}2\n")
        issuer.flask("users", "enable", "student1")
        assert log_in(server, "student1")[0] == 400
        assert log_in(server, "student1", f"{NEW_PASSWORD}2")[0] == 200


def jwt_subject(login: dict[str, str]) -> str:
    subject: str = jwt.decode(login["access_token"], options={"verify_signature": False})["sub"]
    return subject


@pytest.mark.parametrize("missing", ["instance/auth.db", "instance/course.db", "keys"])
def test_backup_of_a_missing_file_fails(missing: str, issuer: Issuer) -> None:
    (issuer.folder / missing).rename(issuer.folder / "elsewhere")

    with pytest.raises(AssertionError):
        issuer.back_up()

    assert not (issuer.folder / missing).exists(), "and creates no empty one"


@pytest.mark.parametrize("command", [RESTORE_DATABASES, RESTORE_KEYS])
def test_restoring_a_missing_backup_changes_nothing(command: str, issuer: Issuer) -> None:
    files = [issuer.folder / "instance/auth.db", *sorted((issuer.folder / "keys").iterdir())]
    before = [file.read_bytes() for file in files]

    with pytest.raises(AssertionError, match="No such file"):
        issuer.run(VARIABLES + command)

    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("missing", ["auth.db", "keys/private_key.pem"])
def test_backup_check_fails_without_users_or_a_key(missing: str, issuer: Issuer) -> None:
    issuer.back_up()
    assert issuer.run(VARIABLES + CHECK) == "3 users\nbackup/keys/private_key.pem\n"
    (issuer.folder / "backup" / missing).write_bytes(b"")

    with pytest.raises(AssertionError):
        issuer.run(VARIABLES + CHECK)


def test_restored_postgresql_has_the_rows_and_privileges_of_the_backup(issuer: Issuer) -> None:
    with serve_postgresql() as server:
        url = sa.make_url(server.get_uri("postgres"))
        settings = {
            "PATH": f"{server.bin_path}:{os.environ['PATH']}",
            "PGHOST": str(url.query["host"]),
            "PGUSER": "postgres",
            "AUTH_DATABASE_PASSWORD": "a",
            "COURSE_DATABASE_PASSWORD": "c",
        }

        def run(script: str) -> str:
            return run_bash(VARIABLES + script.replace("sudo -u postgres ", ""), settings, issuer.folder)

        run(f"sh {ROOT}/deploy/databases.sh")
        run("psql --username auth auth --command 'CREATE TABLE users AS SELECT 1 AS id'")
        assert "TABLE DATA public users" in run(DUMP)
        later = "DELETE FROM users; ALTER TABLE users ADD PRIMARY KEY (id);"
        run(f"psql auth --command '{later} CREATE TABLE later (id int REFERENCES users)'")
        run(RESTORE_POSTGRESQL)

        tables = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = $$public$$"
        assert run("psql auth -At --command 'SELECT id FROM users'") == "1\n"
        assert run(f"psql auth -At --command '{tables}'") == "users|auth\n"
        rights = "SELECT has_database_privilege($$course$$, $$auth$$, $$CONNECT$$)"
        assert run(f"psql auth -At --command '{rights}'") == "f\n"
