"""A database filled by version 0.1.0 keeps working after `db upgrade`."""

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import KeyPair, bearer, both_databases, log_in, read_claims, run_command
from tests.first_edition import (
    CLIENT,
    LAST_MIGRATIONS,
    LIST_PATH,
    PASSWORDS,
    REFRESH_TOKENS,
    SESSIONS,
    USER_IDS,
    OldSession,
    read_rows,
    restore_old_database,
    stored_rows,
)
from tests.forger import ISSUER, Forger
from tests.status_bits import is_set

pytestmark = both_databases

ENDED = ("logged out", "reused", "before the new password", "disabled")


@pytest.fixture
def upgraded_auth(auth: FlaskClient) -> FlaskClient:
    restore_old_database(auth.application, "auth")
    assert run_command(auth, "db", "upgrade").exit_code == 0
    return auth


@pytest.fixture
def upgraded_course(course: FlaskClient) -> FlaskClient:
    restore_old_database(course.application, "course")
    assert run_command(course, "db", "upgrade").exit_code == 0
    return course


def refresh(auth: FlaskClient, name: str, credentials: tuple[str, str] | None = None) -> TestResponse:
    form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKENS[name]}
    return auth.post("/token", data=form, auth=credentials)


def sign_old_token(key_pair: KeyPair, session: OldSession) -> str:
    """Sign the token that 0.1.0 issued for a session."""
    place = {"status_list": {"idx": session.status_index, "uri": f"{ISSUER}{LIST_PATH}"}}
    forger = Forger(key_pair.private_key, key_pair.kid, session.user_id, session.id)
    return forger.sign(client_id=session.client_id, status=place)


@pytest.mark.parametrize("username", PASSWORDS)
def test_users_log_in_with_their_old_passwords(username: str, upgraded_auth: FlaskClient) -> None:
    for _ in range(2):  # the first login replaces a hash made by another application
        answer = log_in(upgraded_auth, username, password=PASSWORDS[username])
        assert read_claims(answer["access_token"])["sub"] == USER_IDS[username]


def test_live_sessions_can_be_refreshed(upgraded_auth: FlaskClient) -> None:
    for name, credentials in (("live", None), ("that changed the password", None), ("client's", CLIENT)):
        response = refresh(upgraded_auth, name, credentials)
        assert response.status_code == 200, name
        again = {"grant_type": "refresh_token", "refresh_token": response.get_json()["refresh_token"]}
        assert upgraded_auth.post("/token", data=again, auth=credentials).status_code == 200, name


@pytest.mark.parametrize("name", ENDED)
def test_ended_sessions_stay_ended(name: str, upgraded_auth: FlaskClient) -> None:
    assert refresh(upgraded_auth, name).status_code == 400


def test_status_list_has_the_same_bits(upgraded_auth: FlaskClient) -> None:
    assert len({session.is_revoked for session in SESSIONS}) == 2
    for session in SESSIONS:
        assert is_set(upgraded_auth, f"{ISSUER}{LIST_PATH}", session.status_index) == session.is_revoked


def test_access_tokens_are_accepted_or_refused_as_before(
    upgraded_auth: FlaskClient, key_pair: KeyPair
) -> None:
    for session in SESSIONS:
        response = upgraded_auth.get("/users/me", headers=bearer(sign_old_token(key_pair, session)))
        assert response.status_code == (401 if session.is_revoked else 200)


def test_old_session_can_be_revoked(upgraded_auth: FlaskClient) -> None:
    live = next(session for session in SESSIONS if not session.is_revoked)

    assert run_command(upgraded_auth, "sessions", "revoke", live.id).exit_code == 0

    upgraded_auth.application.extensions["signed_status_lists"].clear()  # as in a new process
    assert is_set(upgraded_auth, f"{ISSUER}{LIST_PATH}", live.status_index)


def test_client_keeps_its_secret_and_its_scopes(upgraded_auth: FlaskClient) -> None:
    form = {"grant_type": "client_credentials"}

    answer = upgraded_auth.post("/token", data=form, auth=CLIENT)

    assert (answer.status_code, answer.get_json()["scope"]) == (200, "courses:read")


def test_disabled_user_stays_disabled(upgraded_auth: FlaskClient) -> None:
    form = {"username": "bob", "password": "correct horse battery"}

    assert upgraded_auth.post("/token", data=form).status_code == 400
    assert run_command(upgraded_auth, "users", "enable", "bob").exit_code == 0
    assert upgraded_auth.post("/token", data=form).status_code == 200


def test_downgrade_restores_the_rows_that_0_1_0_stored(upgraded_auth: FlaskClient) -> None:
    """Going back is possible: users, clients and sessions have the columns of 0.1.0 again."""
    assert run_command(upgraded_auth, "db", "downgrade", LAST_MIGRATIONS["auth"]).exit_code == 0

    with upgraded_auth.application.app_context():
        engine = upgraded_auth.application.extensions["sqlalchemy"].engine
        with engine.connect() as connection:
            found = read_rows(connection, "auth")

    for name in ("users", "clients", "sessions"):
        assert found[name] == stored_rows("auth", name), name


def test_courses_and_enrolments_survive_the_upgrade(upgraded_course: FlaskClient, forger: Forger) -> None:
    scope = "courses:read courses:write enrolments:write"
    student = bearer(forger.sign(sub=USER_IDS["student1"], scope=scope))
    teacher = bearer(forger.sign(sub=USER_IDS["teacher1"], scope=scope))

    mine = upgraded_course.get("/me/courses", headers=student).get_json()["courses"]
    roses = upgraded_course.get("/courses/7", headers=teacher)

    assert {course["title"] for course in mine} == {"Public-key cryptography", "Old roses"}
    assert roses.get_json()["capacity"] == 2
    match = teacher | {"If-Match": roses.headers["ETag"]}
    assert upgraded_course.patch("/courses/7", json={"capacity": 1}, headers=match).status_code == 200
    added = upgraded_course.post("/courses", json={"title": "Figs", "description": "Fresh."}, headers=teacher)
    assert (added.status_code, added.headers["Location"]) == (201, "/courses/8")
    assert upgraded_course.put("/courses/7/enrolment", headers=teacher).status_code == 409, "it is full"
