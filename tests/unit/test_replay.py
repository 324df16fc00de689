"""Decisions made after a backup are replayed from the log on the restored database."""

import json
import re
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from auth_app.cli.log import HARMLESS, REPEATABLE
from tests.conftest import PASSWORDS, add_client, both_databases, find_user, log_in, run_command
from tests.servers import ROOT

BACKUP = "2026-11-25T03:00:00Z"
LATER = [f"2026-11-25T03:00:0{second}Z" for second in range(10)]


def event(name: str, time: str = LATER[0], **details: object) -> str:
    return json.dumps({"time": time, "event": name, "actor": None, **details}) + "\n"


def replay(auth: FlaskClient, *lines: str) -> list[str]:
    done = run_command(auth, "log", "replay", BACKUP, stdin="".join(lines))
    assert (done.exit_code, done.stderr) == (0, ""), (done.output, done.exception)
    return done.stdout.splitlines()


def refuses(auth: FlaskClient, username: str) -> bool:
    form = {"username": username, "password": PASSWORDS[username]}
    return auth.post("/token", data=form).status_code == 400


@both_databases
def test_events_are_replayed_in_chronological_order(auth: FlaskClient) -> None:
    ids = {name: str(find_user(auth, name).id) for name in PASSWORDS}
    client = add_client(auth, "reports", "--scope", "courses:read")
    session = log_in(auth, "admin1")

    said = replay(
        auth,
        event("user_disabled", LATER[2], user=ids["student1"]),
        event("user_enabled", LATER[1], user=ids["student1"]),
        event("user_disabled", LATER[3], user=ids["teacher1"]),
        event("user_enabled", LATER[4], user=ids["teacher1"]),
        event("roles_changed", user=ids["admin1"], roles=["student"]),
        event("client_removed", client="reports"),
    )

    assert said == ["replayed 6 events"]
    assert refuses(auth, "student1")
    assert not refuses(auth, "teacher1")
    assert find_user(auth, "admin1").roles == ["student"]
    form = {"grant_type": "refresh_token", "refresh_token": session["refresh_token"]}
    assert auth.post("/token", data=form).status_code == 400
    assert auth.post("/token", data={"grant_type": "client_credentials"}, auth=client).status_code == 401


@both_databases
def test_user_is_disabled_if_a_password_change_cannot_be_replayed(auth: FlaskClient) -> None:
    user = str(find_user(auth, "student1").id)

    said = replay(auth, event("password_changed", user=user), event("user_enabled", LATER[1], user=user))

    assert said[0].startswith(
        "student1 is disabled, because password_changed cannot be replayed: run `users set-"
    )
    assert said[1:] == ["replayed 2 events"]
    assert refuses(auth, "student1")
    run_command(auth, "users", "set-password", "student1", stdin="correct horse battery\n")
    run_command(auth, "users", "enable", "student1")
    assert refuses(auth, "student1")
    assert log_in(auth, "student1", password="correct horse battery")


def test_enabling_is_not_suggested_for_a_user_who_was_disabled(auth: FlaskClient) -> None:
    user = str(find_user(auth, "student1").id)

    said = replay(auth, event("password_changed", user=user), event("user_disabled", LATER[1], user=user))

    assert "`users enable" not in said[0]
    assert "and was disabled before" in said[0]


def test_unknown_event_disables_its_user(auth: FlaskClient) -> None:
    said = replay(auth, event("something_else", user=str(find_user(auth, "student1").id)))

    assert "because something_else cannot be replayed" in said[0]
    assert refuses(auth, "student1")


@both_databases
def test_restored_email_address_is_no_longer_verified(auth: FlaskClient) -> None:
    """The user may have given it up since, and someone else may own it by now."""
    known = ("--name", "Ann", "--email", "ann@example.com", "--email-verified")
    for username in ("student1", "teacher1"):
        run_command(auth, "users", "set", username, *known)
    student, teacher = (str(find_user(auth, username).id) for username in ("student1", "teacher1"))
    lines = [
        event("profile_changed", user=student, members=["email"]),
        event("profile_changed", LATER[1], user=student, members=["email_verified"]),
        event("profile_changed", user=teacher, members=["name"]),
    ]

    said = replay(auth, *lines)

    assert said == [
        "student1: the log has no new value for email, email_verified: run `users set student1`",
        "teacher1: the log has no new value for name: run `users set teacher1`",
        "replayed 3 events",
    ]
    users = [find_user(auth, username) for username in ("student1", "teacher1")]
    assert [(user.email, user.email_verified) for user in users] == [
        ("ann@example.com", False),
        ("ann@example.com", True),
    ]
    assert not refuses(auth, "student1")
    assert replay(auth, *lines) == said


def test_remaining_manual_steps_are_printed(auth: FlaskClient) -> None:
    add_client(auth, "reports")
    unknown = str(uuid.uuid4())

    said = replay(
        auth,
        event("user_created", user=unknown, roles=["student"]),
        event("roles_changed", user=unknown, roles=["admin"]),
        event("client_added", client="mailer"),
        event("client_added", client="gone"),
        event("client_removed", LATER[1], client="gone"),
        event("client_secret_changed", client="reports"),
    )

    assert said == [
        "client reports: client_secret_changed cannot be replayed: repeat the change, or remove the client",
        f"user {unknown} is not in the backup: add it again if it is still needed",
        "client mailer is not in the backup: add it again if it is still needed",
        "replayed 6 events",
    ]


@pytest.mark.parametrize(
    "line",
    [
        event("user_disabled", "2026-11-25T02:59:59Z", user="USER"),
        event("login", user="USER", actor="USER"),
        event("user_disabled", "yesterday", user="USER"),
        "{" + event("user_disabled", user="USER"),
        '{"time": "2026-11-25T03:00:00Z", "level": "warning", "message": "event"}\n',
        "[1]\n{}\n{1}\nnonsense\n\n\ufffd\n",
    ],
    ids=["before the backup", "harmless", "invalid time", "invalid JSON", "another log line", "nonsense"],
)
def test_irrelevant_line_is_skipped(line: str, auth: FlaskClient) -> None:
    said = replay(auth, line.replace("USER", str(find_user(auth, "student1").id)))

    assert said == ["replayed 0 events"]
    assert not refuses(auth, "student1")


def test_line_may_have_a_prefix_and_another_time_zone(auth: FlaskClient) -> None:
    """As `docker compose logs` and journalctl print them."""
    user = str(find_user(auth, "student1").id)

    said = replay(auth, "auth-1  | " + event("user_disabled", "2026-11-25T05:00:00+02:00", user=user))

    assert said == ["replayed 1 event"]
    assert refuses(auth, "student1")


def test_replay_may_be_repeated(auth: FlaskClient) -> None:
    add_client(auth, "reports")
    lines = [
        event("user_disabled", user=str(find_user(auth, "student1").id)),
        event("client_removed", client="reports"),
    ]

    assert replay(auth, *lines) == replay(auth, *lines) == ["replayed 2 events"]


def test_replay_with_a_deletion_may_be_repeated(auth: FlaskClient) -> None:
    user = str(find_user(auth, "student1").id)
    lines = [
        event("roles_changed", user=user, roles=["teacher"]),
        event("password_changed", user=user),
        event("profile_changed", user=user, members=["name"]),
        event("user_deleted", user=user),
    ]

    assert replay(auth, *lines) == replay(auth, *lines) == ["replayed 4 events"]
    assert run_command(auth, "users", "show", "student1").exit_code == 1


@pytest.mark.parametrize("since", ["yesterday", "2026-11-25", "2026-11-25T03:00:00"])
def test_backup_time_must_be_complete(since: str, auth: FlaskClient) -> None:
    refused = run_command(auth, "log", "replay", since)

    assert refused.exit_code == 2
    assert "give a time such as 2026-11-25T03:00:00Z" in refused.stderr


def test_every_audit_event_is_repeatable_or_harmless_or_handled_by_hand() -> None:
    """A new event must be added to one of the three groups."""
    calls: Any = re.compile(r"record(?:_on_commit)?\(\s*((?:\"\w+\"(?: if .*? else )?)+)")
    sources = [path.read_text() for path in (ROOT / "auth_app").rglob("*.py")]
    names = {
        name for source in sources for call in calls.findall(source) for name in re.findall(r'"(\w+)"', call)
    }

    assert len(names) > 15
    assert names - HARMLESS - REPEATABLE.keys() <= {
        "password_changed",
        "profile_changed",
        "client_secret_changed",
    }
