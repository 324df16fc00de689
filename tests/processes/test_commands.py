"""Commands of auth_app: tables for people, JSON for programs, and exit codes for scripts."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    both_databases,
    find_user,
    get_token,
    log_in,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER, NEWCOMER
from tests.servers import environment_for, run_flask

GOOD_PASSWORD = "correct horse battery"


ENDED = "ended {}\nauth_app refuses their tokens now, and other services refuse them within 30 seconds\n"


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(client: FlaskClient, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(done(run_command(client, *arguments, "--json")))
    return rows


@both_databases
def test_user_is_added_and_logs_in(auth: FlaskClient) -> None:
    said = done(run_command(auth, "users", "add", "ada", "--role", "teacher", stdin=f"{GOOD_PASSWORD}\n"))

    assert said == f"added ada, {find_user(auth, 'ada').id}\n"
    assert "courses:write" in log_in(auth, "ada", password=GOOD_PASSWORD)["scope"]


def test_new_user_has_the_given_roles_or_is_a_student(auth: FlaskClient) -> None:
    for username, options in (("ann", []), ("bob", ["--role", "student", "--role", "admin"])):
        done(run_command(auth, "users", "add", username, *options, stdin=GOOD_PASSWORD))

    assert find_user(auth, "ann").roles == ["student"]
    assert find_user(auth, "bob").roles == ["student", "admin"]


@pytest.mark.parametrize("method", ["scrypt", "pbkdf2:sha256:1000"])
def test_imported_werkzeug_hash_works_and_is_upgraded_at_login(method: str, auth: FlaskClient) -> None:
    password_hash = generate_password_hash("password of old", method)

    done(run_command(auth, "users", "add", "ada", "--hashed", stdin=f"{password_hash}\n"))

    assert find_user(auth, "ada").password_hash == password_hash
    assert log_in(auth, "ada", password="password of old")
    assert find_user(auth, "ada").password_hash.startswith("$argon2id$")


@both_databases
def test_users_are_listed_and_shown(auth: FlaskClient) -> None:
    log_in(auth)

    rows = as_json(auth, "users", "list")
    table = done(run_command(auth, "users", "list")).splitlines()
    (shown,) = as_json(auth, "users", "show", "student1")

    assert [row["username"] for row in rows] == ["admin1", "student1", "teacher1"]
    assert table[0].split() == [
        "id",
        "username",
        "name",
        "email",
        "email_verified",
        "roles",
        "is_disabled",
        "must_change_password",
        "last_login_at",
        "updated_at",
    ]
    assert table[1].split()[1:-1] == ["admin1", "-", "-", "no", "admin", "no", "no", "-"]
    assert shown == rows[1]
    assert shown["last_login_at"] == find_user(auth, "student1").last_login_at
    assert "argon2" not in json.dumps(rows)


@both_databases
def test_setting_a_password_ends_all_sessions(auth: FlaskClient) -> None:
    token = get_token(auth)

    done(run_command(auth, "users", "set-password", "student1", stdin=f"{GOOD_PASSWORD}\n"))

    assert auth.get("/users/me", headers=bearer(token)).status_code == 401
    assert log_in(auth, password=GOOD_PASSWORD)


@both_databases
def test_user_is_added_with_a_name_and_an_email_address(auth: FlaskClient) -> None:
    options = ["--name", "Ada Lovelace", "--email", "ada@example.com", "--email-verified"]
    done(run_command(auth, "users", "add", "ada", *options, stdin=GOOD_PASSWORD))
    password_hash = find_user(auth, "ada").password_hash
    done(run_command(auth, "users", "add", "bob", "--hashed", "--name", "Bob", stdin=password_hash))

    ada, bob = (as_json(auth, "users", "show", username)[0] for username in ("ada", "bob"))

    assert (ada["name"], ada["email"], ada["email_verified"]) == ("Ada Lovelace", "ada@example.com", True)
    assert (bob["name"], bob["email"], bob["email_verified"]) == ("Bob", None, False)
    assert "Ada Lovelace  ada@example.com  yes " in done(run_command(auth, "users", "list"))


# The options of `users set`, and what the user has afterwards: name, address, whether it is verified.
SET: dict[str, tuple[list[str], tuple[str | None, str | None, bool]]] = {
    "name": (["--name", "Ada"], ("Ada", "ada@example.com", True)),
    "no name": (["--no-name"], (None, "ada@example.com", True)),
    "address": (["--email", "ada@new.example"], ("Ada Lovelace", "ada@new.example", False)),
    "verified address": (
        ["--email", "ada@new.example", "--email-verified"],
        ("Ada Lovelace", "ada@new.example", True),
    ),
    "the same address": (["--email", "ada@example.com"], ("Ada Lovelace", "ada@example.com", True)),
    "unverified": (["--no-email-verified"], ("Ada Lovelace", "ada@example.com", False)),
    "no address": (["--no-email"], ("Ada Lovelace", None, False)),
    "neither name nor address": (["--no-name", "--no-email"], (None, None, False)),
}


@both_databases
@pytest.mark.parametrize(("options", "expected"), SET.values(), ids=SET)
def test_name_and_email_address_are_changed(
    options: list[str], expected: tuple[str | None, str | None, bool], auth: FlaskClient
) -> None:
    known = ["--name", "Ada Lovelace", "--email", "ada@example.com", "--email-verified"]
    done(run_command(auth, "users", "set", "student1", *known))

    assert done(run_command(auth, "users", "set", "student1", *options)) == "changed student1\n"

    user = find_user(auth, "student1")
    assert (user.name, user.email, user.email_verified) == expected


def test_roles_are_set(auth: FlaskClient) -> None:
    done(run_command(auth, "users", "set-roles", "student1", "teacher", "admin"))
    assert find_user(auth, "student1").roles == ["teacher", "admin"]

    assert done(run_command(auth, "users", "set-roles", "student1")) == "student1 now has no roles\n"
    assert find_user(auth, "student1").roles == []


@both_databases
def test_user_is_disabled_and_enabled(auth: FlaskClient) -> None:
    token = get_token(auth)

    done(run_command(auth, "users", "disable", "student1"))
    refused = auth.post("/token", data={"username": "student1", "password": "password123"})
    done(run_command(auth, "users", "enable", "student1"))

    assert refused.status_code == 400
    assert auth.get("/users/me", headers=bearer(token)).status_code == 401
    assert log_in(auth)


@both_databases
def test_clients_are_added_listed_and_removed(auth: FlaskClient) -> None:
    add_client(auth, "writer", "--scope", "courses:read", "--scope", "courses:write", "--resource", COURSES)
    said = done(run_command(auth, "clients", "add", "reader"))

    assert [line.split()[0] for line in said.splitlines()] == ["client_id", "client_secret"]
    rows = {row["id"]: row for row in as_json(auth, "clients", "list")}
    assert (rows["first-party"]["scopes"], rows["first-party"]["resources"]) == (None, None)
    reader, writer = rows["reader"], rows["writer"]
    assert (reader["scopes"], reader["resources"]) == ([], [ISSUER, COURSES, NEWCOMER])
    assert (writer["scopes"], writer["resources"]) == (["courses:read", "courses:write"], [COURSES])
    assert reader["grant_types"] == ["client_credentials"]
    assert done(run_command(auth, "clients", "remove", "writer")) == "removed writer\n"
    assert {row["id"] for row in as_json(auth, "clients", "list")} == rows.keys() - {"writer"}


@both_databases
def test_sessions_are_listed_and_revoked(auth: FlaskClient) -> None:
    students, teacher = [log_in(auth) for _ in range(3)], log_in(auth, "teacher1")
    ids = [read_claims(answer["access_token"])["sid"] for answer in students]

    rows = as_json(auth, "sessions", "list")
    assert {row["id"] for row in rows} == {*ids, read_claims(teacher["access_token"])["sid"]}
    assert {row["id"] for row in as_json(auth, "sessions", "list", "--user", "student1")} == set(ids)
    assert set(rows[0]) == {"id", "username", "client_id", "scope", "created_at", "expires_at"}

    assert done(run_command(auth, "sessions", "revoke", ids[0])) == ENDED.format("1 session")
    assert done(run_command(auth, "sessions", "revoke", "--user", "student1")) == ENDED.format("2 sessions")
    assert done(run_command(auth, "sessions", "revoke", "--user", "student1")) == "ended 0 sessions\n"

    assert [row["username"] for row in as_json(auth, "sessions", "list")] == ["teacher1"]
    for answer, status in ((students[0], 401), (students[1], 401), (teacher, 200)):
        assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == status
    assert done(run_command(auth, "sessions", "revoke", "--all")) == ENDED.format("1 session")


UUID = "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"

# A command, its standard input, its exit code, and part of its error message.
REFUSED: dict[str, tuple[list[str], str, int, str]] = {
    "user exists": (["users", "add", "student1"], GOOD_PASSWORD, 1, "A user with this name already exists."),
    "invalid user name": (["users", "add", "a b"], GOOD_PASSWORD, 1, "A user name must"),
    "weak password": (["users", "add", "ada"], "password", 1, "one of the most common"),
    "no password": (["users", "add", "ada"], "", 1, "8 characters or more"),
    "password instead of a hash": (
        ["users", "add", "ada", "--hashed"],
        GOOD_PASSWORD,
        1,
        "This is not an argon2",
    ),
    "long hash": (
        ["users", "add", "ada", "--hashed"],
        f"scrypt:1:1:1$x${'0' * 300}",
        1,
        "This is not an argon2",
    ),
    "unknown role": (["users", "add", "ada", "--role", "king"], GOOD_PASSWORD, 2, "'king' is not one of"),
    "password as an argument": (["users", "add", "ada", GOOD_PASSWORD], "", 2, "unexpected extra argument"),
    **{
        f"users {command} with an unknown user": (
            ["users", command, "nobody"],
            GOOD_PASSWORD,
            1,
            "There is no user nobody",
        )
        for command in ("show", "set-password", "set-roles", "disable", "enable", "delete")
    },
    "users set with an unknown user": (
        ["users", "set", "nobody", "--no-name"],
        "",
        1,
        "nobody: run `flask --app",
    ),
    "no profile to set": (["users", "set", "student1"], "", 2, "Nothing to change"),
    "name and no name": (
        ["users", "set", "student1", "--name", "x", "--no-name"],
        "",
        2,
        "either --name or --no-",
    ),
    "address and no address": (
        ["users", "set", "x", "--email", "a@b", "--no-email"],
        "",
        2,
        "either --email or",
    ),
    "empty name": (["users", "set", "student1", "--name", ""], "", 1, "1 to 200 printable"),
    "name with an escape": (["users", "set", "student1", "--name", "a\x1b[2J"], "", 1, "1 to 200 printable"),
    "invalid address": (["users", "set", "student1", "--email", "ada"], "", 1, "must have one @"),
    "verified without an address": (
        ["users", "set", "student1", "--email-verified"],
        "",
        1,
        "no email address",
    ),
    "new user's invalid address": (
        ["users", "add", "ada", "--email", "a b@c"],
        GOOD_PASSWORD,
        1,
        "must have one @",
    ),
    "new user's missing address": (
        ["users", "add", "ada", "--email-verified"],
        GOOD_PASSWORD,
        1,
        "no email address",
    ),
    "unknown role to set": (["users", "set-roles", "student1", "king"], "", 2, "'king' is not one of"),
    "invalid client ID": (["clients", "add", "Reports"], "", 1, "A client ID must"),
    "client ID in use": (["clients", "add", "first-party"], "", 1, "with this ID already exists"),
    "client ID like a user's": (["clients", "add", "a" + UUID[1:]], "", 1, "must not be a UUID"),
    "two scopes in one option": (
        ["clients", "add", "reports", "--scope", "courses:read courses:write"],
        "",
        2,
        "repeat --scope for each value",
    ),
    "two roles in one option": (
        ["users", "add", "ada", "--role", "student,teacher"],
        "",
        2,
        "repeat --role for each",
    ),
    "unknown scope": (["clients", "add", "reports", "--scope", "x"], "", 2, "'x' is not one of"),
    "unknown resource": (
        ["clients", "add", "reports", "--resource", "http://x"],
        "",
        1,
        "add it to RESOURCES",
    ),
    **{
        f"clients {command} with an unknown client": (
            ["clients", command, "nobody", *options],
            "",
            1,
            "There is no client nobody",
        )
        for command, *options in (["remove"], ["show"], ["set", "--no-scope"], ["set-secret"])
    },
    "nothing to set": (["clients", "set", "reports"], "", 2, "Nothing to change"),
    "scope and no scope": (
        ["clients", "set", "x", "--no-scope", "--scope", "courses:read"],
        "",
        2,
        "Give either --scope or --no-scope.",
    ),
    "unknown resource to set": (["clients", "set", "x", "--resource", "http://x"], "", 1, "add it to RES"),
    "negative overlap": (["clients", "set-secret", "x", "--overlap", "-1"], "", 2, "not in the range"),
    "sessions list with an unknown user": (
        ["sessions", "list", "--user", "nobody"],
        "",
        1,
        "nobody: run `flask --app wsgi_auth users list`",
    ),
    "sessions revoke with an unknown user": (
        ["sessions", "revoke", "--user", "nobody"],
        "",
        1,
        "There is no user",
    ),
    "unknown session": (["sessions", "revoke", UUID], "", 1, f"There is no session {UUID}: run `flask --app"),
    "session ID is not a UUID": (["sessions", "revoke", "x"], "", 2, "not a valid UUID"),
    "neither session nor user": (
        ["sessions", "revoke"],
        "",
        2,
        "exactly one of SESSION_ID, --user and --all",
    ),
    "session and user": (
        ["sessions", "revoke", UUID, "--user", "x"],
        "",
        2,
        "exactly one of SESSION_ID, --user and --all",
    ),
    "unknown command": (["users", "remove", "student1"], "", 2, "No such command"),
}


@pytest.mark.parametrize(("arguments", "stdin", "code", "sentence"), REFUSED.values(), ids=REFUSED)
def test_command_is_refused(
    arguments: list[str], stdin: str, code: int, sentence: str, auth: FlaskClient
) -> None:
    result = run_command(auth, *arguments, stdin=stdin)

    assert result.exit_code == code
    assert result.stdout == ""
    assert sentence in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert [row["username"] for row in as_json(auth, "users", "list")] == ["admin1", "student1", "teacher1"]


def test_adding_a_client_twice_is_refused_and_keeps_its_secret(auth: FlaskClient) -> None:
    credentials = add_client(auth, "reports")

    again = run_command(auth, "clients", "add", "reports")

    assert (again.exit_code, again.stderr) == (1, "Error: A client with this ID already exists.\n")
    form = {"grant_type": "client_credentials"}
    assert auth.post("/token", data=form, auth=credentials).status_code == 200


def test_commands_need_no_keys_but_a_migrated_database(tmp_path: Path) -> None:
    environment = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth.db"}
    with pytest.raises(
        AssertionError, match=r"Error: the database failed .* run `flask --app wsgi_auth db upgrade`"
    ):
        run_flask("wsgi_auth", "users list", environment, tmp_path)

    run_flask("wsgi_auth", "db upgrade", environment, tmp_path)
    assert run_flask("wsgi_auth", "users list", environment, tmp_path).split()[0] == "id"


def test_password_is_prompted_for_at_a_terminal_without_echo(tmp_path: Path, key_pair: KeyPair) -> None:
    environment = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth.db"}
    run_flask("wsgi_auth", "db upgrade", environment, tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi_auth", "users", "add", "ada"],
        env=environment_for(environment),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while not seen.endswith(prompt):
            seen += os.read(ours, 1024)
        os.write(ours, f"{GOOD_PASSWORD}\n".encode())
    try:
        while chunk := os.read(ours, 1024):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)

    assert process.wait(timeout=60) == 0
    assert b"added ada" in seen
    assert GOOD_PASSWORD.encode() not in seen
