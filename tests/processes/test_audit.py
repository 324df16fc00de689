"""Changes to users, clients, sessions and keys are logged as one JSON line each: who, what, from where."""

import contextlib
import json
import logging
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    change_user,
    find_user,
    get_token,
    log_in,
    open_auth,
    read_claims,
    run_command,
)
from tests.refresh_tokens import let_grace_pass
from tests.secrets import find_secrets
from tests.servers import Pair, call, run_flask, serve_pair

ADDRESS, REQUEST_ID = "192.0.2.7", "request-7"
GOOD_PASSWORD = "correct horse battery"


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        lines = [record.getMessage() for record in caplog.records if record.name == "audit"]
        caplog.clear()
        return [json.loads(line) for line in lines]

    return read


def set_remote_host(client: FlaskClient) -> FlaskClient:
    client.environ_base["REMOTE_ADDR"] = ADDRESS
    client.environ_base["HTTP_X_REQUEST_ID"] = REQUEST_ID
    return client


def test_login_refreshes_reuse_and_revocation_are_recorded(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    events()
    client = set_remote_host(auth)
    first = log_in(client)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    client.post("/token", data=form)
    client.post("/token", data=form)
    let_grace_pass(auth)
    client.post("/token", data=form)
    session = read_claims(first["access_token"])["sid"]
    user = str(find_user(auth, "student1").id)

    found = events()

    assert [event["event"] for event in found] == [
        "login",
        "token_refreshed",
        "token_refreshed",
        "refresh_token_reused",
        "session_revoked",
    ]
    for event in found:
        assert (event["address"], event["request_id"]) == (ADDRESS, REQUEST_ID)
        assert (event["client"], event["session"]) == ("first-party", session)
        assert set(event) >= {"time", "event", "actor", "address", "request_id"}
    assert [event["actor"] for event in found[:4]] == [user] * 4
    assert [event["retry"] for event in found[1:3]] == [False, True]
    assert found[4]["user"] == user


def test_failed_login_is_recorded_without_the_submitted_user_name(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    """A user may type a password into the user name field by mistake."""
    events()
    for username in ("student1", "hunter2-as-a-name"):
        set_remote_host(auth).post("/token", data={"username": username, "password": "wrong password"})

    known, unknown = events()

    assert (known["event"], known["actor"]) == ("login_failed", str(find_user(auth, "student1").id))
    assert (unknown["event"], unknown["actor"], unknown["address"]) == ("login_failed", None, ADDRESS)
    assert "hunter2" not in json.dumps(unknown)


def test_login_of_a_disabled_user_is_recorded_as_failed(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    run_command(auth, "users", "disable", "student1")
    events()
    auth.post("/token", data={"username": "student1", "password": "password123"})

    (failed,) = events()
    assert (failed["event"], failed["actor"]) == ("login_failed", str(find_user(auth, "student1").id))


def test_throttled_login_is_recorded(auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]) -> None:
    for _ in range(6):
        auth.post("/token", data={"username": "student1", "password": "wrong"})

    assert [event["event"] for event in events()][-2:] == ["login_failed", "login_throttled"]


def test_client_changes_tokens_and_refusals_are_recorded(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    events()
    credentials = add_client(auth, "reports", "--scope", "courses:read")
    auth.post("/token", data={"grant_type": "client_credentials"}, auth=credentials)
    auth.post("/token", data={"grant_type": "client_credentials"}, auth=("reports", "wrong"))
    auth.post("/token", data={"grant_type": "client_credentials"}, auth=("nobody", "wrong"))
    run_command(auth, "clients", "remove", "reports")

    assert [(event["event"], event["client"]) for event in events()] == [
        ("client_added", "reports"),
        ("client_token_issued", "reports"),
        ("client_refused", "reports"),
        ("client_refused", None),
        ("sessions_revoked", "reports"),
        ("client_removed", "reports"),
    ]


def test_user_changes_are_recorded_with_their_actor(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    admin, student = str(find_user(auth, "admin1").id), str(find_user(auth, "student1").id)
    headers, own = bearer(get_token(auth, "admin1")), bearer(get_token(auth))
    for _ in range(2):
        log_in(auth)
    events()
    auth.post("/users", json={"username": "ada", "password": GOOD_PASSWORD}, headers=headers)
    ada = str(find_user(auth, "ada").id)
    change_user(auth, "ada", headers, roles=["teacher"], is_disabled=True)
    change_user(auth, "ada", headers, is_disabled=False)
    change = {"current_password": "password123", "new_password": GOOD_PASSWORD}
    auth.put("/users/me/password", json=change, headers=own)

    found = events()
    assert [event["count"] for event in found if event["event"] == "sessions_revoked"] == [2], (
        "the session that changed the password is kept"
    )
    assert [(event["event"], event["actor"], event["user"]) for event in found] == [
        ("user_created", admin, ada),
        ("roles_changed", admin, ada),
        ("user_disabled", admin, ada),
        ("user_enabled", admin, ada),
        ("sessions_revoked", student, student),
        ("password_changed", student, student),
    ]


def test_profile_change_is_recorded_without_its_values(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    headers = bearer(get_token(auth, "admin1"))
    student = str(find_user(auth, "student1").id)
    events()
    known = {"name": "Ann Smith", "email": "ann@example.com"}
    change_user(auth, "student1", headers, **known, email_verified=True)
    change_user(auth, "student1", headers, **known)
    change_user(auth, "student1", headers, email="smith@example.com")
    body = {"username": "ada", "password": GOOD_PASSWORD, **known}
    auth.post("/users", json=body, headers=headers)

    *changes, created = events()

    assert [(event["event"], event["user"], event["members"]) for event in changes] == [
        ("profile_changed", student, ["name", "email", "email_verified"]),
        ("profile_changed", student, ["email", "email_verified"]),
    ]
    for value in ("Ann", "smith", "example"):
        assert value not in json.dumps([*changes, created])


def test_command_is_recorded_with_the_uid_that_ran_it(
    auth: FlaskClient, events: Callable[[], list[dict[str, Any]]]
) -> None:
    log_in(auth)
    events()
    run_command(auth, "users", "disable", "student1")

    revoked, disabled = events()

    assert (revoked["event"], disabled["event"]) == ("sessions_revoked", "user_disabled")
    for event in (revoked, disabled):
        assert event["actor"].startswith("command line, uid ")
        assert (event["address"], event["request_id"]) == (None, None)


def test_new_key_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()

    lines = run_flask("wsgi_auth", "keys generate", {}, tmp_path).splitlines()

    event = next(json.loads(line) for line in lines if line.startswith("{"))
    assert event["event"] == "key_generated"
    assert len(event["kid"]) == 43


def test_server_writes_its_audit_log_to_standard_error(pair: Pair) -> None:
    _, answer = call(f"{pair.auth.url}/token", form={"username": "student1", "password": "password123"})

    lines = [json.loads(line) for line in pair.auth.log.read_text().splitlines() if line.startswith("{")]

    session = read_claims(answer["access_token"])["sid"]
    assert [line["event"] for line in lines if line.get("session") == session] == ["login"]


@pytest.mark.parametrize("given", ["abc-123", "A.b_C-9", "x" * 64])
def test_valid_request_id_is_returned(given: str, course: FlaskClient) -> None:
    assert course.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "own"}, "own"),
        ({"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-b7ad6b7169203331-01"}, None),
        ({"traceparent": TRACE}, None),
    ],
)
def test_trace_id_is_used_when_no_request_id_is_sent(
    headers: dict[str, str], expected: str | None, course: FlaskClient
) -> None:
    answered = course.get("/healthz", headers=headers).headers["X-Request-ID"]

    assert (answered == expected) == (expected is not None)
    assert answered != "0" * 32


def test_every_log_line_is_json_with_its_request_id(tmp_path: Path) -> None:
    with serve_pair(tmp_path) as pair:
        database = tmp_path / "course/course.db"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("DROP TABLE courses")
        request = urllib.request.Request(f"{pair.course.url}/readyz", headers={"X-Request-ID": "mine"})
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60)

    lines = [line for line in pair.course.log.read_text().splitlines() if not line.startswith("[")]
    parsed = [json.loads(line) for line in lines]
    (problem,) = [line for line in parsed if line["request_id"] == "mine"]
    assert (problem["level"], problem["message"]) == ("error", "not ready: database")
    assert "no such table" in problem["trace"]


def test_existing_logging_setup_is_kept(new_database: Callable[[], str], key_pair: KeyPair) -> None:
    before = logging.getLogger().handlers.copy()

    with open_auth(new_database(), key_pair):
        assert logging.getLogger().handlers == before != []


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", 'a"b', "a/b", "\u00e9", "{}"])
def test_missing_or_invalid_request_id_is_replaced(given: str | None, course: FlaskClient) -> None:
    headers = {} if given is None else {"X-Request-ID": given}

    first, second = (course.get("/nothing", headers=headers).headers["X-Request-ID"] for _ in range(2))

    assert first != second
    assert len(first) == len(second) == 32


@pytest.mark.parametrize(
    "text",
    [
        "the password is password123",
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_search_for_secrets_in_logs_finds_them(text: str) -> None:
    """Check the search that runs on every log of this test suite."""
    assert find_secrets(text)


def test_search_for_secrets_finds_tokens_issued_in_tests(auth: FlaskClient) -> None:
    assert find_secrets(f"refused {log_in(auth)['refresh_token']}")
    assert find_secrets(f"made {add_client(auth)[1]}")
