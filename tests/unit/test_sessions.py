"""Sessions: what a refresh keeps, narrows and loses, and what ends a session."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.sessions import claim_user
from auth_app.errors import InvalidGrant
from auth_app.models import Session, User
from tests.conftest import add_client, both_databases, change_row, find_user, log_in, read_claims
from tests.refresh_tokens import is_refused, refresh, refreshed, sees_itself, sessions

pytestmark = both_databases


def test_refresh_returns_new_tokens_for_the_same_session(auth: FlaskClient) -> None:
    first = log_in(auth)

    second = refreshed(auth, first["refresh_token"])

    assert list(second) == list(first)
    assert second["refresh_token"] != first["refresh_token"]
    old, new = (read_claims(answer["access_token"]) for answer in (first, second))
    assert old["jti"] != new["jti"]
    for name in ("sub", "sid", "aud", "client_id", "scope", "username"):
        assert old[name] == new[name]


def test_access_token_issued_before_a_refresh_stays_valid(auth: FlaskClient) -> None:
    first = log_in(auth)

    second = refreshed(auth, first["refresh_token"])

    assert sees_itself(auth, first["access_token"])
    assert sees_itself(auth, second["access_token"])


def test_every_refresh_returns_a_new_refresh_token(auth: FlaskClient) -> None:
    token = log_in(auth)["refresh_token"]
    seen = {token}

    for _ in range(5):
        token = refreshed(auth, token)["refresh_token"]
        seen.add(token)

    assert len(seen) == 6


def test_expired_session_is_refused_and_removed_by_the_next_login(auth: FlaskClient) -> None:
    answer = log_in(auth)
    change_row(auth, sa.update(Session).values(expires_at=Session.created_at - 60))

    assert is_refused(refresh(auth, answer["refresh_token"]))
    assert not sees_itself(auth, answer["access_token"])
    assert len(sessions(auth)) == 1
    log_in(auth)
    assert len(sessions(auth)) == 1


def test_refreshing_does_not_extend_the_session(auth: FlaskClient) -> None:
    answer = log_in(auth)
    (before,) = sessions(auth)

    refreshed(auth, answer["refresh_token"])

    (after,) = sessions(auth)
    assert after.expires_at == before.expires_at == before.created_at + 30 * 86400


def test_scope_narrows_one_access_token_but_not_the_refresh_token(auth: FlaskClient) -> None:
    answer = log_in(auth, "teacher1", scope="courses:read courses:write")

    narrow = refreshed(auth, answer["refresh_token"], scope="courses:read")
    wide = refreshed(auth, narrow["refresh_token"])

    assert narrow["scope"] == read_claims(narrow["access_token"])["scope"] == "courses:read"
    assert wide["scope"] == read_claims(wide["access_token"])["scope"] == "courses:read courses:write"


@pytest.mark.parametrize("scope", ["courses:write", "courses:read courses:write", "enrolments:write", "x"])
def test_scope_beyond_the_grant_is_refused_and_the_token_is_not_spent(scope: str, auth: FlaskClient) -> None:
    answer = log_in(auth, "teacher1", scope="courses:read")

    assert is_refused(refresh(auth, answer["refresh_token"], scope=scope), "invalid_scope")

    assert refreshed(auth, answer["refresh_token"])["scope"] == "courses:read"


def test_scope_removed_from_the_user_is_gone_after_the_next_refresh(auth: FlaskClient) -> None:
    answer = log_in(auth, "teacher1")
    change_row(auth, sa.update(User).where(User.username == "teacher1").values(roles=["student"]))

    assert refreshed(auth, answer["refresh_token"])["scope"] == "courses:read enrolments:write"


def test_scope_added_to_the_user_requires_a_new_login(auth: FlaskClient) -> None:
    answer = log_in(auth)
    change_row(auth, sa.update(User).where(User.username == "student1").values(roles=["admin"]))

    assert refreshed(auth, answer["refresh_token"])["scope"] == "courses:read enrolments:write"
    assert "users:manage" in log_in(auth)["scope"]


def test_user_with_an_unknown_role_logs_in_without_scopes(auth: FlaskClient) -> None:
    change_row(auth, sa.update(User).where(User.username == "student1").values(roles=["unknown"]))

    answer = log_in(auth)

    assert answer["scope"] == read_claims(answer["access_token"])["scope"] == ""
    assert sees_itself(auth, answer["access_token"])


def test_refresh_token_works_only_for_its_own_client(auth: FlaskClient) -> None:
    options = ("--scope", "courses:read")
    first, second = add_client(auth, "first", *options), add_client(auth, "second", *options)
    answer = auth.post("/token", data={"username": "student1", "password": "password123"}, auth=first).json
    assert answer

    assert is_refused(refresh(auth, answer["refresh_token"], auth=second))
    assert is_refused(refresh(auth, answer["refresh_token"]))

    assert refreshed(auth, answer["refresh_token"], auth=first)["scope"] == "courses:read"


def test_first_party_refresh_token_is_refused_for_another_client(auth: FlaskClient) -> None:
    answer = log_in(auth)

    assert is_refused(refresh(auth, answer["refresh_token"], auth=add_client(auth)))

    assert refreshed(auth, answer["refresh_token"])


def test_user_disabled_directly_in_the_database_is_refused(auth: FlaskClient) -> None:
    answer = log_in(auth)
    change_row(auth, sa.update(User).values(is_disabled=True))

    assert is_refused(refresh(auth, answer["refresh_token"]))
    assert not sees_itself(auth, answer["access_token"])


@pytest.mark.parametrize("change", [{"is_disabled": True}, {"password_hash": "another"}], ids=str)
def test_login_is_refused_if_the_user_changes_while_the_password_is_verified(
    change: dict[str, Any], auth: FlaskClient
) -> None:
    with auth.application.app_context():
        user = find_user(auth, "student1")
        change_row(auth, sa.update(User).where(User.username == "student1").values(**change))

        with pytest.raises(InvalidGrant):
            claim_user(user, "password123")

    assert sessions(auth) == []


def test_time_of_the_last_login_is_recorded(auth: FlaskClient) -> None:
    before = find_user(auth, "student1").last_login_at
    log_in(auth)

    (session,) = sessions(auth)
    assert before is None
    assert find_user(auth, "student1").last_login_at == pytest.approx(session.created_at, abs=1)
