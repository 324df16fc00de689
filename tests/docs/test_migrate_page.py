"""Keycloak can verify the passwords that docs/how-to/migrate.md exports; its table of hashes is correct."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from argon2.low_level import Type, hash_secret_raw
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from auth_app.accounts.passwords import is_password_hash
from auth_app.cli.demo import DEMO_USERS
from flask_resource_server.tokens.profiles import PROFILES
from tests.docs.page_programs import Programs
from tests.servers import PATIENCE, copy_home, environment_for, run_flask

PROGRAMS = Programs("docs/how-to/migrate.md")
IMPORTED = "scrypt:32768:8:1$salt$" + "0" * 128


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The exported users by name: those of the demo data, and one with a Werkzeug hash."""
    folder = tmp_path_factory.mktemp("auth")
    copy_home("auth", folder)
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.db"}
    run_in(folder, "-m flask --app wsgi_auth users add imported --hashed", settings, IMPORTED)
    run_flask("wsgi_auth", "users disable teacher1", settings, folder)
    (folder / "export_users.py").write_text(PROGRAMS.files["export_users.py"])
    realm = json.loads(run_in(folder, "export_users.py", settings))
    assert {role["name"] for role in realm["roles"]["realm"]} == {"student", "teacher", "admin"}
    return {user["username"]: user for user in realm["users"]}


def run_in(folder: Path, arguments: str, settings: dict[str, str], stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments.split()],
        cwd=folder,
        env=environment_for(settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compute_like_keycloak(password: str, credential: dict[str, str]) -> str:
    """Return the value that Keycloak compares: Argon2PasswordHashProvider.encode."""
    data, secret = json.loads(credential["credentialData"]), json.loads(credential["secretData"])
    parameters = {name: values[0] for name, values in data["additionalParameters"].items()}
    assert (data["algorithm"], parameters["type"], parameters["version"]) == ("argon2", "id", "1.3")
    value = hash_secret_raw(
        password.encode(),
        base64.b64decode(secret["salt"], validate=True),
        time_cost=data["hashIterations"],
        memory_cost=int(parameters["memory"]),
        parallelism=int(parameters["parallelism"]),
        hash_len=int(parameters["hashLength"]),
        type=Type.ID,
        version=0x13,
    )
    return base64.b64encode(value).decode()


@pytest.mark.parametrize("username", DEMO_USERS)
def test_exported_hash_verifies_the_password(username: str, users: dict[str, dict[str, Any]]) -> None:
    (credential,) = users[username]["credentials"]
    stored = json.loads(credential["secretData"])["value"]

    assert compute_like_keycloak(DEMO_USERS[username][0], credential) == stored
    assert compute_like_keycloak("wrong", credential) != stored
    assert users[username]["requiredActions"] == []


def test_user_with_another_hash_has_to_choose_a_password(users: dict[str, dict[str, Any]]) -> None:
    assert users["imported"]["credentials"] == []
    assert users["imported"]["requiredActions"] == ["UPDATE_PASSWORD"]


def test_roles_and_disabled_users_are_exported(users: dict[str, dict[str, Any]]) -> None:
    assert users["admin1"]["realmRoles"] == ["admin"]
    assert {name for name, user in users.items() if not user["enabled"]} == {"teacher1"}


FOREIGN_HASHES = {
    "bcrypt": "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
    "argon2": f"$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA${'A' * 43}",
    "pbkdf2": generate_password_hash("x", method="pbkdf2:sha256:1000"),
}


@pytest.mark.parametrize("kind", FOREIGN_HASHES)
def test_only_bcrypt_hashes_cannot_be_imported(kind: str, auth: FlaskClient) -> None:
    with auth.application.app_context():
        assert is_password_hash(FOREIGN_HASHES[kind]) == (kind != "bcrypt")


def test_keycloak_profile_has_the_documented_name() -> None:
    assert '"profile": "keycloak"' in PROGRAMS.files["reports.py"]
    assert "keycloak" in PROFILES
