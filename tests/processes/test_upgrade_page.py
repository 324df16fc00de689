"""The commands of docs/how-to/upgrade.md upgrade databases of version 0.1.0, which the services then use."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa

from tests.bash import run_bash
from tests.first_edition import CLIENT, LAST_MIGRATIONS, PASSWORDS, REFRESH_TOKENS, USER_IDS, insert_rows
from tests.forger import COURSES, ISSUER
from tests.servers import ROOT, Server, call, copy_home, listen, run_flask, serve

PAGE = (ROOT / "docs/how-to/upgrade.md").read_text()
STEPS = PAGE.partition("## Upgrade to a new release")[2].partition("\n### ")[0]
MIGRATE = re.findall(r"```sh\n(.*?)```", STEPS, re.DOTALL)[0]
OPERATION = (ROOT / "docs/how-to/operate.md").read_text().partition("## Back up\n")[2].partition("\n## ")[0]
BACK_UP = "".join(re.findall(r"```sh\n(.*?)```", OPERATION, re.DOTALL)[:2])
GO_BACK = re.findall(r"flask --app wsgi_auth (db downgrade \d+)", PAGE)


@dataclass(frozen=True)
class Installation:
    """A folder as version 0.1.0 left it: keys/, and instance/ with both databases."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ISSUER": ISSUER,
            "RESOURCES": COURSES,
            "RESOURCE": COURSES,
            "AUTH_DATABASE_URL": f"sqlite:///{self.folder}/instance/auth.db",
            "COURSE_DATABASE_URL": f"sqlite:///{self.folder}/instance/course.db",
            "STATUS_CLAIM": "ignored",  # course_app cannot reach the issuer by its name
        }

    def run(self, script: str) -> str:
        return run_bash(script, self.environment, self.folder)

    def count(self, database: str, table: str) -> int:
        with sa.create_engine(f"sqlite:///{self.folder}/{database}").connect() as connection:
            number: int = connection.execute(
                sa.select(sa.func.count()).select_from(sa.table(table))
            ).scalar_one()
            return number


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    copy_home("auth", folder)
    (folder / "auth.db").unlink()
    (folder / "instance").mkdir()
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "flask").symlink_to(Path(sys.executable).parent / "flask")
    old = Installation(folder)
    for service, migration in LAST_MIGRATIONS.items():
        run_flask(f"wsgi_{service}", f"db upgrade {migration}", old.environment, folder)
        engine = sa.create_engine(old.environment[f"{service.upper()}_DATABASE_URL"])
        with engine.begin() as connection:
            insert_rows(connection, service)
        engine.dispose()
    return old


@pytest.fixture(scope="module")
def services(old: Installation) -> Iterator[tuple[Server, Server]]:
    """Both services, after the documented steps."""
    old.run(BACK_UP)
    assert "0005 (head)" in old.run(MIGRATE)
    with (
        listen() as auth_listener,
        listen() as course_listener,
        serve("wsgi_auth", auth_listener, old.environment, old.folder) as auth,
        serve("wsgi_course", course_listener, old.environment, old.folder) as course,
    ):
        yield auth, course


def refresh(auth: Server, name: str, **client: str) -> tuple[int, dict[str, str]]:
    form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKENS[name], **client}
    return call(f"{auth.url}/token", form=form)


def test_users_can_log_in_and_keep_their_enrolments(services: tuple[Server, Server]) -> None:
    auth, course = services

    status, login = call(
        f"{auth.url}/token", form={"username": "student1", "password": PASSWORDS["student1"]}
    )

    assert status == 200
    claims = jwt.decode(login["access_token"], options={"verify_signature": False})
    assert claims["sub"] == USER_IDS["student1"]
    titles = {one["title"] for one in call(f"{course.url}/me/courses", login["access_token"])[1]["courses"]}
    assert titles == {"Public-key cryptography", "Old roses"}


def test_live_sessions_continue_and_ended_ones_stay_ended(services: tuple[Server, Server]) -> None:
    auth, course = services
    client = {"client_id": CLIENT[0], "client_secret": CLIENT[1]}

    status, renewed = refresh(auth, "live")

    assert status == 200
    assert call(f"{course.url}/courses", renewed["access_token"])[0] == 200
    assert refresh(auth, "client's", **client)[0] == 200
    for name in ("logged out", "reused", "before the new password", "disabled"):
        assert refresh(auth, name)[0] == 400, name


def test_backup_contains_the_data_of_0_1_0(services: tuple[Server, Server], old: Installation) -> None:
    assert old.count("backup/auth.db", "users") == len(USER_IDS)
    assert old.count("backup/auth.db", "login_failures") == 2, "the migration empties this table"
    assert (old.folder / "backup/keys/private_key.pem").stat().st_mode & 0o777 == 0o600


def test_page_downgrades_to_the_last_migration_of_0_1_0() -> None:
    assert set(GO_BACK) == {f"db downgrade {LAST_MIGRATIONS['auth']}"}


def test_restoring_a_backup_of_0_1_0_uses_only_commands_of_0_1_0() -> None:
    section = PAGE.partition("### Restore a backup of 0.1.0\n")[2].partition("\n### ")[0]
    commands = set(re.findall(r"flask --app wsgi_auth (\w+ \w+)", section))

    assert commands == {"sessions revoke", "keys revoke", "keys list"}
