"""The users API: what users can read and change about themselves, and administrators about everyone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.roles import ROLES
from auth_app.models import User
from tests.conftest import (
    PASSWORDS,
    KeyPair,
    bearer,
    both_databases,
    change_row,
    change_user,
    find_user,
    get_token,
    log_in,
    open_auth,
    read_claims,
)

GOOD_PASSWORD = "correct horse battery"
NOBODY = "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"


@pytest.fixture
def admin(auth: FlaskClient) -> dict[str, str]:
    """The header of an administrator."""
    return bearer(get_token(auth, "admin1"))


@pytest.fixture
def registration_auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An authorization server with self-registration."""
    with open_auth(new_database(), key_pair, self_registration=True) as client:
        yield client


def path_of_user(client: FlaskClient, username: str) -> str:
    return f"/users/{find_user(client, username).id}"


@pytest.mark.parametrize("role", ["student", "teacher", "admin"])
def test_role_has_its_scopes(role: str, auth: FlaskClient) -> None:
    expected = {
        "student": "courses:read enrolments:write",
        "teacher": "courses:read courses:write enrolments:write",
        "admin": "courses:read courses:write enrolments:write users:manage",
    }

    assert log_in(auth, f"{role}1")["scope"] == expected[role]
    assert set(ROLES) == set(expected)


# What users can read and change about themselves


@both_databases
def test_user_sees_their_own_name_and_roles(auth: FlaskClient) -> None:
    response = auth.get("/users/me", headers=bearer(get_token(auth)))

    user = find_user(auth, "student1")
    assert response.json == {
        "id": str(user.id),
        "username": "student1",
        "roles": ["student"],
        "is_disabled": False,
        "must_change_password": False,
        "last_login_at": user.last_login_at,
    }


def test_users_me_requires_a_token(auth: FlaskClient) -> None:
    assert auth.get("/users/me").status_code == 401


def change(client: FlaskClient, token: str, current: str, new: str) -> tuple[int, dict[str, Any] | None]:
    body = {"current_password": current, "new_password": new}
    response = client.put("/users/me/password", json=body, headers=bearer(token))
    return response.status_code, response.get_json(silent=True)


@both_databases
def test_password_change_ends_all_other_sessions(auth: FlaskClient) -> None:
    own, others, teacher = log_in(auth), [log_in(auth), log_in(auth)], log_in(auth, "teacher1")

    assert change(auth, own["access_token"], "password123", GOOD_PASSWORD) == (204, None)

    for answer, status in ((own, 200), (others[0], 401), (others[1], 401), (teacher, 200)):
        assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == status
    for answer, status in ((own, 200), (others[0], 400), (others[1], 400), (teacher, 200)):
        form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        assert auth.post("/token", data=form).status_code == status
    assert auth.post("/token", data={"username": "student1", "password": "password123"}).status_code == 400
    assert log_in(auth, password=GOOD_PASSWORD)


@both_databases
def test_password_change_requires_the_current_password(auth: FlaskClient) -> None:
    other = log_in(auth)

    status, error = change(auth, get_token(auth), "password456", GOOD_PASSWORD)

    assert (status, error and error["error"]) == (400, "invalid_password")
    assert log_in(auth)
    assert auth.get("/users/me", headers=bearer(other["access_token"])).status_code == 200


def test_guessing_the_current_password_is_throttled(auth: FlaskClient) -> None:
    token = get_token(auth)

    statuses = [change(auth, token, f"guess number {n}", GOOD_PASSWORD)[0] for n in range(6)]

    assert statuses == [400] * 5 + [429]
    assert change(auth, token, "password123", GOOD_PASSWORD)[0] == 429


@pytest.mark.parametrize("name", ["current_password", "new_password"])
def test_both_passwords_are_required(name: str, auth: FlaskClient) -> None:
    body = {"current_password": "password123", "new_password": GOOD_PASSWORD} | {name: ""}

    response = auth.put("/users/me/password", json=body, headers=bearer(get_token(auth)))

    assert response.json == {
        "error": "invalid_request",
        "error_description": f"The parameter {name} is too short.",
    }


# What administrators can read and change


@both_databases
def test_pages_contain_every_user_once_and_in_order(auth: FlaskClient, admin: dict[str, str]) -> None:
    for name in ("ann", "zoe", "m.m+m@example.com"):
        auth.post("/users", json={"username": name, "password": GOOD_PASSWORD}, headers=admin)
    names, path = [], "/users?limit=2"
    while path:
        page = auth.get(path, headers=admin).json
        assert page
        assert len(page["users"]) == 2
        names += [user["username"] for user in page["users"]]
        path = page["next"]

    assert names == ["admin1", "ann", "m.m+m@example.com", "student1", "teacher1", "zoe"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=%00", "limit=1&limit=2"])
def test_invalid_page_parameter_is_refused(query: str, auth: FlaskClient, admin: dict[str, str]) -> None:
    assert auth.get(f"/users?{query}", headers=admin).status_code == 400


def test_page_after_the_last_is_empty(auth: FlaskClient, admin: dict[str, str]) -> None:
    assert auth.get("/users?after=zzz", headers=admin).json == {"users": [], "next": None}


def test_user_is_read_by_id(auth: FlaskClient, admin: dict[str, str]) -> None:
    answer = auth.get(path_of_user(auth, "teacher1"), headers=admin).json

    assert answer
    assert (answer["username"], answer["roles"]) == ("teacher1", ["teacher"])


@both_databases
@pytest.mark.parametrize("user_id", [NOBODY, "x", "1", "%00", NOBODY[:-1]])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_unknown_user_is_not_found(
    method: str, user_id: str, auth: FlaskClient, admin: dict[str, str]
) -> None:
    body = {"is_disabled": True} if method == "PATCH" else None

    assert auth.open(f"/users/{user_id}", method=method, json=body, headers=admin).status_code == 404


@both_databases
def test_new_user_can_log_in(auth: FlaskClient, admin: dict[str, str]) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, "roles": ["teacher"]}

    response = auth.post("/users", json=body, headers=admin)

    assert response.status_code == 201
    assert response.json
    assert response.json == auth.get(path_of_user(auth, "ada"), headers=admin).json
    answer = log_in(auth, "ada", password=GOOD_PASSWORD)
    assert answer["scope"] == "courses:read courses:write enrolments:write"
    assert read_claims(answer["access_token"])["sub"] == response.json["id"]


def test_new_user_is_a_student_by_default(auth: FlaskClient, admin: dict[str, str]) -> None:
    response = auth.post("/users", json={"username": "ada", "password": GOOD_PASSWORD}, headers=admin)

    assert response.json
    assert response.json["roles"] == ["student"]


BAD_USERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "name taken": ({"username": "student1"}, 409, "username_taken"),
    "name taken, in capitals": ({"username": "Student1"}, 409, "username_taken"),
    "name with a space": ({"username": "a b"}, 400, "invalid_request"),
    "name with a line break": ({"username": "ada\n"}, 400, "invalid_request"),
    "name with a NUL": ({"username": "a\0"}, 400, "invalid_request"),
    "name in another alphabet": ({"username": "\u0430da"}, 400, "invalid_request"),
    "name too long": ({"username": "a" * 129}, 400, "invalid_request"),
    "no name": ({"username": ""}, 400, "invalid_request"),
    "unknown role": ({"roles": ["king"]}, 400, "invalid_request"),
    "role twice": ({"roles": ["student", "student"]}, 400, "invalid_request"),
    "roles are not a list": ({"roles": "student"}, 400, "invalid_request"),
    "weak password": ({"password": "short"}, 400, "invalid_password"),
    "invalid address": ({"email": "ada"}, 400, "invalid_request"),
    "verified without an address": ({"email_verified": True}, 400, "invalid_request"),
    "unknown member": ({"is_disabled": False}, 400, "invalid_request"),
    "chosen id": ({"id": NOBODY}, 400, "invalid_request"),
}


@both_databases
@pytest.mark.parametrize(("changes", "status", "error"), BAD_USERS.values(), ids=BAD_USERS)
def test_bad_user_is_refused(
    changes: dict[str, Any], status: int, error: str, auth: FlaskClient, admin: dict[str, str]
) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD} | changes

    response = auth.post("/users", json=body, headers=admin)

    assert (response.status_code, response.json and response.json["error"]) == (status, error)
    page = auth.get("/users", headers=admin).json
    assert page
    assert len(page["users"]) == 3


@both_databases
def test_disabled_user_loses_all_sessions_and_logs_in_again_once_enabled(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    answer = log_in(auth)
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}

    disabled = change_user(auth, "student1", admin, is_disabled=True).json

    assert disabled
    assert disabled["is_disabled"] is True
    assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == 401
    assert auth.post("/token", data=form).status_code == 400
    assert auth.post("/token", data={"username": "student1", "password": "password123"}).status_code == 400
    enabled = change_user(auth, "student1", admin, is_disabled=False).json
    assert enabled
    assert enabled["is_disabled"] is False
    assert auth.post("/token", data=form).status_code == 400, "an ended session stays ended"
    assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == 401
    assert log_in(auth)


@both_databases
def test_administrator_can_set_roles(auth: FlaskClient, admin: dict[str, str]) -> None:
    answer = change_user(auth, "student1", admin, roles=["teacher", "admin"]).json

    assert answer
    assert answer["roles"] == ["teacher", "admin"]
    assert "users:manage" in log_in(auth)["scope"]
    assert change_user(auth, "student1", admin, roles=[]).status_code == 200
    assert log_in(auth)["scope"] == ""


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"roles": ["king"]},
        {"roles": None},
        {"is_disabled": "yes"},
        {"is_disabled": None},
        {"username": "x"},
        {"password_hash": "x"},
        [],
    ],
    ids=str,
)
def test_bad_change_is_refused(body: Any, auth: FlaskClient, admin: dict[str, str]) -> None:
    headers = {**admin, "If-Match": "*"}
    response = auth.patch(path_of_user(auth, "student1"), json=body, headers=headers)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("username", ["student1", "teacher1"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", None),
        ("GET", f"/users/{NOBODY}", None),
        ("PATCH", f"/users/{NOBODY}", {"roles": ["admin"]}),
        ("POST", "/users", {"username": "ada", "password": GOOD_PASSWORD}),
    ],
)
def test_managing_users_requires_the_scope(
    method: str, path: str, body: dict[str, str] | None, username: str, auth: FlaskClient
) -> None:
    response = auth.open(path, method=method, json=body, headers=bearer(get_token(auth, username)))

    assert response.status_code == 403
    assert response.headers["WWW-Authenticate"].startswith(
        'Bearer error="insufficient_scope", scope="users:manage", '
    )


def test_administrator_with_a_narrowed_scope_cannot_manage_users(auth: FlaskClient) -> None:
    headers = bearer(get_token(auth, "admin1", scope="courses:read"))

    assert auth.get("/users", headers=headers).status_code == 403


# Self-registration


def test_self_registration_is_off_by_default(auth: FlaskClient) -> None:
    response = auth.post("/users", json={"username": "ada", "password": GOOD_PASSWORD})

    assert response.status_code == 401
    assert "error=" not in response.headers["WWW-Authenticate"]


@both_databases
def test_users_can_register_if_self_registration_is_on(registration_auth: FlaskClient) -> None:
    response = registration_auth.post("/users", json={"username": "ada", "password": GOOD_PASSWORD})

    assert response.status_code == 201
    assert response.json
    assert response.json["roles"] == ["student"]
    assert log_in(registration_auth, "ada", password=GOOD_PASSWORD)


@pytest.mark.parametrize("roles", [["admin"], ["teacher"], ["student", "admin"], []])
def test_users_cannot_give_themselves_roles(roles: list[str], registration_auth: FlaskClient) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, "roles": roles}

    assert registration_auth.post("/users", json=body).status_code == 403
    student = bearer(get_token(registration_auth))
    assert registration_auth.post("/users", json=body, headers=student).status_code == 403


def test_registration_with_an_invalid_token_is_refused(registration_auth: FlaskClient) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD}

    assert registration_auth.post("/users", json=body, headers=bearer("a.b.c")).status_code == 401


def test_demo_users_have_the_passwords_used_in_the_tests(auth: FlaskClient) -> None:
    assert [bool(log_in(auth, username)) for username in PASSWORDS] == [True] * 3


def test_unknown_role_has_no_scopes(auth: FlaskClient, admin: dict[str, str]) -> None:
    change_row(auth, sa.update(User).where(User.username == "student1").values(roles=["king", "student"]))

    assert log_in(auth)["scope"] == "courses:read enrolments:write"
