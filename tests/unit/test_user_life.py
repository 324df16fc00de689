"""Users can be deleted, and must change initial passwords set by administrators."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import KnownAddress, User
from tests.conftest import (
    add_client,
    bearer,
    both_databases,
    change_user,
    find_user,
    get_token,
    log_in,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER

pytestmark = both_databases

GOOD_PASSWORD, OWN_PASSWORD = "correct horse battery", "a password of my own"


@pytest.fixture
def admin(auth: FlaskClient) -> dict[str, str]:
    """The header of an administrator."""
    return bearer(get_token(auth, "admin1"))


def refresh(client: FlaskClient, answer: dict[str, Any], **changes: Any) -> TestResponse:
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]} | changes
    return client.post("/token", data=form)


def reset(client: FlaskClient, headers: dict[str, str], password: str = GOOD_PASSWORD) -> TestResponse:
    path = f"/users/{find_user(client, 'teacher1').id}/password"
    return client.put(path, json={"new_password": password}, headers=headers)


def choose(client: FlaskClient, token: str, old: str = GOOD_PASSWORD, new: str = OWN_PASSWORD) -> int:
    body = {"current_password": old, "new_password": new}
    return client.put("/users/me/password", json=body, headers=bearer(token)).status_code


# Preconditions


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_change_requires_the_current_etag(method: str, auth: FlaskClient, admin: dict[str, str]) -> None:
    path = f"/users/{find_user(auth, 'student1').id}"
    body = {"roles": ["teacher"]} if method == "PATCH" else None
    tag = auth.get(path, headers=admin).headers["ETag"]
    assert auth.patch(path, json={"is_disabled": True}, headers=admin | {"If-Match": tag}).status_code == 200

    unread = auth.open(path, method=method, json=body, headers=admin)
    changed = auth.open(path, method=method, json=body, headers=admin | {"If-Match": tag})

    assert (unread.status_code, unread.get_json()["error"]) == (428, "precondition_required")
    assert (changed.status_code, changed.get_json()["error"]) == (412, "precondition_failed")
    assert find_user(auth, "student1").roles == ["student"]


def test_every_response_with_a_user_has_its_etag(auth: FlaskClient, admin: dict[str, str]) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD}
    added = auth.post("/users", json=body, headers=admin)
    path = f"/users/{added.get_json()['id']}"

    read = auth.get(path, headers=admin)
    changed = auth.patch(path, json={"roles": []}, headers=admin | {"If-Match": added.headers["ETag"]})

    assert added.headers["ETag"] == read.headers["ETag"] != changed.headers["ETag"]
    assert changed.headers["ETag"] == auth.get(path, headers=admin).headers["ETag"]


def test_login_does_not_change_the_etag(auth: FlaskClient, admin: dict[str, str]) -> None:
    path = f"/users/{find_user(auth, 'student1').id}"
    tag = auth.get(path, headers=admin).headers["ETag"]

    log_in(auth)

    assert auth.patch(path, json={"roles": []}, headers=admin | {"If-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"roles": ["student"]}),
        ("PATCH", "", {"is_disabled": True}),
        ("DELETE", "", None),
        ("PUT", "/password", {"new_password": GOOD_PASSWORD}),
    ],
)
def test_administrators_cannot_change_their_own_account(
    method: str, path: str, body: dict[str, Any] | None, auth: FlaskClient, admin: dict[str, str]
) -> None:
    address = f"/users/{find_user(auth, 'admin1').id}{path}"

    refused = auth.open(address, method=method, json=body, headers=admin | {"If-Match": "*"})

    assert (refused.status_code, refused.get_json()["error"]) == (403, "access_denied")
    assert "users:manage" in log_in(auth, "admin1")["scope"]


# Deletion


def delete_by_request(client: FlaskClient) -> None:
    headers = bearer(get_token(client, "admin1"))
    assert change_user(client, "student1", headers, "DELETE").status_code == 204


def delete_by_command(client: FlaskClient) -> None:
    assert run_command(client, "users", "delete", "student1").output.endswith(
        "deleted student1 and ended all sessions\n"
    )


@pytest.mark.parametrize("delete", [delete_by_request, delete_by_command])
def test_deleted_user_cannot_be_found_or_log_in(
    delete: Any, auth: FlaskClient, admin: dict[str, str]
) -> None:
    answer, user_id = log_in(auth), find_user(auth, "student1").id
    path = f"/users/{user_id}"

    delete(auth)

    assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == 401
    assert refresh(auth, answer).status_code == 400
    assert auth.post("/token", data={"username": "student1", "password": "password123"}).status_code == 400
    page = auth.get("/users", headers=admin).get_json()
    assert [user["username"] for user in page["users"]] == ["admin1", "teacher1"]
    headers = admin | {"If-Match": "*"}
    assert auth.get(path, headers=headers).status_code == 404
    assert auth.patch(path, json={"is_disabled": False}, headers=headers).status_code == 404
    assert auth.delete(path, headers=headers).status_code == 404
    body = {"new_password": GOOD_PASSWORD}
    assert auth.put(f"{path}/password", json=body, headers=headers).status_code == 404
    for username in ("student1", f"deleted:{user_id}"):
        for command in ("show", "enable", "set-password", "delete"):
            result = run_command(auth, "users", command, username, stdin=GOOD_PASSWORD)
            assert f"There is no user {username}" in result.stderr
        for password in (" ", "password123"):
            form = {"username": username, "password": password}
            assert auth.post("/token", data=form).status_code == 400
    assert "deleted:" not in run_command(auth, "users", "list").output


def test_no_personal_data_of_a_deleted_user_remains(auth: FlaskClient) -> None:
    log_in(auth)
    known = ("--name", "Ann", "--email", "ann@example.com", "--email-verified")
    assert run_command(auth, "users", "set", "student1", *known).exit_code == 0
    user_id = find_user(auth, "student1").id
    with auth.application.app_context():
        db = auth.application.extensions["sqlalchemy"]
        db.session.merge(KnownAddress(user_id=user_id, address="x", last_login_at=1))
        db.session.commit()
    delete_by_command(auth)

    with auth.application.app_context():
        db = auth.application.extensions["sqlalchemy"]
        user = db.session.get(User, user_id)
        assert db.session.scalars(sa.select(KnownAddress).where(KnownAddress.user_id == user_id)).all() == []
    assert user.deleted_at
    assert user.is_disabled
    assert (user.username, user.password_hash, user.password_parameters) == (f"deleted:{user_id}", "", "")
    assert (user.roles, user.last_login_at) == ([], None)
    assert (user.name, user.email, user.email_verified, user.updated_at) == (None, None, False, None)


def test_name_of_a_deleted_user_can_be_reused_but_not_the_id(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    before = read_claims(get_token(auth))
    delete_by_request(auth)

    added = auth.post("/users", json={"username": "student1", "password": GOOD_PASSWORD}, headers=admin)
    token = get_token(auth, password=GOOD_PASSWORD)
    delete_by_request(auth)
    again = auth.post("/users", json={"username": "student1", "password": GOOD_PASSWORD}, headers=admin)

    ids = {before["sub"], added.get_json()["id"], again.get_json()["id"]}
    assert len(ids) == 3
    assert read_claims(token)["sub"] == added.get_json()["id"]


def test_page_of_users_skips_deleted_ones(auth: FlaskClient, admin: dict[str, str]) -> None:
    for name in ("cat", "dog", "elk"):
        run_command(auth, "users", "add", name, stdin=GOOD_PASSWORD)
    run_command(auth, "users", "delete", "dog")

    page = auth.get("/users?limit=2&after=admin1", headers=admin).get_json()

    assert [user["username"] for user in page["users"]] == ["cat", "elk"]


# A password that an administrator has set


def test_reset_password_allows_nothing_but_choosing_another(
    auth: FlaskClient, course: FlaskClient, admin: dict[str, str]
) -> None:
    before = log_in(auth, "teacher1")
    assert reset(auth, admin).status_code == 204
    assert auth.get("/users/me", headers=bearer(before["access_token"])).status_code == 401

    answer = log_in(auth, "teacher1", password=GOOD_PASSWORD, scope="courses:write", resource=COURSES)

    claims = read_claims(answer["access_token"])
    assert (answer["password_change_required"], answer["scope"]) == (True, "")
    assert (claims["aud"], claims["scope"]) == ([ISSUER], "")
    assert course.get("/courses", headers=bearer(answer["access_token"])).status_code == 401
    assert auth.get("/users/me", headers=bearer(answer["access_token"])).get_json()["must_change_password"]
    again = refresh(auth, answer).get_json()
    assert (again["password_change_required"], again["scope"]) == (True, "")

    assert choose(auth, again["access_token"]) == 204

    full = refresh(auth, again).get_json()
    claims = read_claims(full["access_token"])
    assert "password_change_required" not in full
    assert (full["scope"], claims["aud"]) == ("courses:write", [COURSES])
    assert "password_change_required" not in log_in(auth, "teacher1", password=OWN_PASSWORD)


def test_user_cannot_keep_the_password_set_by_an_administrator(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    reset(auth, admin)
    token = get_token(auth, "teacher1", password=GOOD_PASSWORD)

    assert choose(auth, token, new=GOOD_PASSWORD) == 400
    assert log_in(auth, "teacher1", password=GOOD_PASSWORD)["password_change_required"] is True


def test_client_of_one_service_gets_a_token_for_choosing_a_password(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    credentials = add_client(auth, "website", "--scope", "courses:read", "--resource", COURSES)
    reset(auth, admin)

    form = {"username": "teacher1", "password": GOOD_PASSWORD}
    answer = auth.post("/token", data=form, auth=credentials).get_json()

    assert read_claims(answer["access_token"])["aud"] == [ISSUER]
    assert choose(auth, answer["access_token"]) == 204


def test_login_with_a_reset_password_refuses_invalid_scopes_and_resources(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    reset(auth, admin)
    form = {"username": "teacher1", "password": GOOD_PASSWORD}

    wide = auth.post("/token", data=form | {"scope": "users:manage"})
    elsewhere = auth.post("/token", data=form | {"resource": "https://example.com"})

    assert (wide.get_json()["error"], elsewhere.get_json()["error"]) == ("invalid_scope", "invalid_target")


@pytest.mark.parametrize("password", ["short", "teacher1", "password123"])
def test_reset_password_follows_the_rules(password: str, auth: FlaskClient, admin: dict[str, str]) -> None:
    refused = reset(auth, admin, password)

    assert (refused.status_code, refused.get_json()["error"]) == (400, "invalid_password")
    assert log_in(auth, "teacher1")


@pytest.mark.parametrize("username", ["student1", "teacher1"])
def test_resetting_a_password_requires_the_scope(username: str, auth: FlaskClient) -> None:
    assert reset(auth, bearer(get_token(auth, username))).status_code == 403
    assert auth.put(f"/users/{uuid.uuid4()}/password", json={}).status_code == 401


@pytest.mark.parametrize(
    ("option", "expected"), [([], False), (["--no-must-change"], False), (["--must-change"], True)]
)
def test_set_password_option_decides_whether_the_password_must_be_changed(
    option: list[str], expected: bool, auth: FlaskClient
) -> None:
    run_command(auth, "users", "set-password", "teacher1", *option, stdin=GOOD_PASSWORD)

    answer = log_in(auth, "teacher1", password=GOOD_PASSWORD)

    assert answer.get("password_change_required", False) is expected
