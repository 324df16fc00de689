"""User profiles: who may set name and address, and when an address is verified."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import User
from tests.conftest import (
    KeyPair,
    bearer,
    both_databases,
    change_row,
    change_user,
    find_user,
    get_token,
    open_auth,
)

pytestmark = both_databases

GOOD_PASSWORD = "correct horse battery"
ADA: dict[str, Any] = {"name": "Ada Lovelace", "email": "ada@example.com", "email_verified": True}


@pytest.fixture
def admin(auth: FlaskClient) -> dict[str, str]:
    """The header of an administrator."""
    return bearer(get_token(auth, "admin1"))


@pytest.fixture
def registration_auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An authorization server with self-registration."""
    with open_auth(new_database(), key_pair, self_registration=True) as client:
        yield client


def profile_of(user: dict[str, Any] | None) -> tuple[str | None, str | None, bool]:
    assert user
    return user["name"], user["email"], user["email_verified"]


def test_new_user_has_the_given_profile(auth: FlaskClient, admin: dict[str, str]) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, **ADA}

    response = auth.post("/users", json=body, headers=admin)

    assert profile_of(response.json) == ("Ada Lovelace", "ada@example.com", True)
    assert response.json
    assert response.json["updated_at"] == pytest.approx(time.time(), abs=5)
    assert response.json == auth.get(f"/users/{response.json['id']}", headers=admin).json


@pytest.mark.parametrize("given", [{}, {"name": None, "email": None, "email_verified": False}], ids=str)
def test_new_user_may_have_no_profile(
    given: dict[str, Any], auth: FlaskClient, admin: dict[str, str]
) -> None:
    response = auth.post(
        "/users", json={"username": "ada", "password": GOOD_PASSWORD, **given}, headers=admin
    )

    assert profile_of(response.json) == (None, None, False)


# Changes to Ada's complete profile, and the result: name, address, whether it is verified.
CHANGES: dict[str, tuple[dict[str, Any], tuple[str | None, str | None, bool]]] = {
    "something else": ({"is_disabled": False}, ("Ada Lovelace", "ada@example.com", True)),
    "name": ({"name": "Ada King"}, ("Ada King", "ada@example.com", True)),
    "name in another script": (
        {"name": "\u5c71\u7530 \u592a\u90ce"},
        ("\u5c71\u7530 \u592a\u90ce", "ada@example.com", True),
    ),
    "longest name": ({"name": "\u00e4" * 200}, ("\u00e4" * 200, "ada@example.com", True)),
    "no name": ({"name": None}, (None, "ada@example.com", True)),
    "address": ({"email": "king@example.com"}, ("Ada Lovelace", "king@example.com", False)),
    "longest address": ({"email": "a@" + "b" * 252}, ("Ada Lovelace", "a@" + "b" * 252, False)),
    "address in another script": (
        {"email": "\u00e4da@b\u00fccher.example"},
        ("Ada Lovelace", "\u00e4da@b\u00fccher.example", False),
    ),
    "the same address": ({"email": "ada@example.com"}, ("Ada Lovelace", "ada@example.com", True)),
    "verified address": (
        {"email": "king@example.com", "email_verified": True},
        ("Ada Lovelace", "king@example.com", True),
    ),
    "no address": ({"email": None}, ("Ada Lovelace", None, False)),
    "no address, unverified": ({"email": None, "email_verified": False}, ("Ada Lovelace", None, False)),
    "unverified": ({"email_verified": False}, ("Ada Lovelace", "ada@example.com", False)),
}


@pytest.mark.parametrize(("changes", "expected"), CHANGES.values(), ids=CHANGES)
def test_only_the_given_members_change(
    changes: dict[str, Any],
    expected: tuple[str | None, str | None, bool],
    auth: FlaskClient,
    admin: dict[str, str],
) -> None:
    change_user(auth, "student1", admin, **ADA)

    response = change_user(auth, "student1", admin, **changes)

    assert response.status_code == 200
    assert profile_of(response.json) == expected
    users = auth.get("/users", headers=admin).get_json()["users"]
    assert profile_of(next(user for user in users if user["username"] == "student1")) == expected


BAD: dict[str, dict[str, Any]] = {
    "empty name": {"name": ""},
    "name of spaces": {"name": "  "},
    "name too long": {"name": "a" * 201},
    "name with a line break": {"name": "Ada\nLovelace"},
    "name with a NUL": {"name": "Ada\0"},
    "name with an escape": {"name": "\x1b[31mAda"},
    "name with a C1 control character": {"name": "Ada\x9b"},
    "name with a right-to-left override": {"name": "Ada\u202egnp"},
    "name that ends with a line separator": {"name": "Ada\u2028"},
    "name that is a number": {"name": 1},
    "name that is a list": {"name": ["Ada"]},
    "empty address": {"email": ""},
    "address without @": {"email": "ada.example.com"},
    "address with two @": {"email": "ada@example.com@evil.example"},
    "address without a user": {"email": "@example.com"},
    "address without a domain": {"email": "ada@"},
    "address with a space": {"email": "ada @example.com"},
    "address with a space before it": {"email": " ada@example.com"},
    "address with a line break": {"email": "ada@example.com\n"},
    "address with a header": {"email": "ada@example.com\r\nBcc:x"},
    "address with a NUL": {"email": "ada@example.com\0"},
    "address with a zero-width space": {"email": "ada@exam\u200bple.com"},
    "address with a no-break space": {"email": "ada@exam\u00a0ple.com"},
    "address too long": {"email": "a@" + "b" * 253},
    "address that is a list": {"email": ["ada@example.com"]},
    "verified without an address": {"email_verified": True},
    "verified, and the address removed": {"email": None, "email_verified": True},
    "verified is null": {"email_verified": None},
    "verified is a string": {"email": "ada@example.com", "email_verified": "true"},
    "time of the change": {"updated_at": 1},
}


@pytest.mark.parametrize("members", BAD.values(), ids=BAD)
def test_bad_profile_is_refused(members: dict[str, Any], auth: FlaskClient, admin: dict[str, str]) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, **members}

    added = auth.post("/users", json=body, headers=admin)
    changed = change_user(auth, "student1", admin, **members)

    for response in (added, changed):
        assert (response.status_code, response.get_json()["error"]) == (400, "invalid_request")
    user = find_user(auth, "student1")
    assert (user.name, user.email, user.email_verified) == (None, None, False)
    assert len(auth.get("/users", headers=admin).get_json()["users"]) == 3


TOLD: dict[str, tuple[dict[str, Any], bool]] = {
    "name": ({"name": "Ada King"}, True),
    "address": ({"email": "king@example.com"}, True),
    "no longer verified": ({"email_verified": False}, True),
    "roles": ({"roles": ["teacher"]}, True),
    "the same": ({**ADA, "roles": ["student"]}, False),
    "disabled": ({"is_disabled": True}, False),
}


@pytest.mark.parametrize(("changes", "is_told"), TOLD.values(), ids=TOLD)
def test_updated_at_changes_only_with_claims_that_applications_see(
    changes: dict[str, Any], is_told: bool, auth: FlaskClient, admin: dict[str, str]
) -> None:
    change_user(auth, "student1", admin, **ADA)
    change_row(auth, sa.update(User).values(updated_at=1))

    response = change_user(auth, "student1", admin, **changes)

    assert response.get_json()["updated_at"] == (pytest.approx(time.time(), abs=5) if is_told else 1)


@pytest.mark.parametrize("member", ["name", "email", "email_verified"])
def test_profile_change_requires_the_current_etag(
    member: str, auth: FlaskClient, admin: dict[str, str]
) -> None:
    change_user(auth, "student1", admin, **ADA)
    path = f"/users/{find_user(auth, 'student1').id}"
    tag = auth.get(path, headers=admin).headers["ETag"]
    change = {member: False if member == "email_verified" else "other@example.com"}

    first = auth.patch(path, json=change, headers=admin | {"If-Match": tag})
    late = auth.patch(path, json={"name": "too late"}, headers=admin | {"If-Match": tag})
    current = auth.patch(path, json=ADA, headers=admin | {"If-Match": first.headers["ETag"]})

    assert (first.status_code, late.status_code, current.status_code) == (200, 412, 200)
    assert find_user(auth, "student1").name == "Ada Lovelace"


def test_etag_depends_on_the_profile_even_if_the_version_is_the_same(
    auth: FlaskClient, admin: dict[str, str]
) -> None:
    """After a failover the same version may be assigned twice."""
    path = f"/users/{find_user(auth, 'student1').id}"
    tags = set()
    for profile in (
        {"name": "Ada"},
        {"email": "ada@example.com"},
        {"email_verified": True},
        {"updated_at": 1},
    ):
        change_row(auth, sa.update(User).values(**profile))
        tags.add(auth.get(path, headers=admin).headers["ETag"])

    assert len(tags) == 4


def test_profile_is_not_shown_at_users_me(auth: FlaskClient, admin: dict[str, str]) -> None:
    """Otherwise a client without the scopes `profile` and `email` could read there what /userinfo hides."""
    change_user(auth, "student1", admin, **ADA)

    response = auth.get("/users/me", headers=bearer(get_token(auth)))

    assert response.status_code == 200
    assert not {"name", "email", "email_verified", "updated_at"} & set(response.get_json())
    assert "ada" not in response.text.casefold()


def test_users_cannot_change_their_own_profile(auth: FlaskClient) -> None:
    headers = bearer(get_token(auth)) | {"If-Match": "*"}

    assert auth.patch("/users/me", json=ADA, headers=headers).status_code == 405
    own = f"/users/{find_user(auth, 'student1').id}"
    assert auth.patch(own, json=ADA, headers=headers).status_code == 403


def test_users_may_give_their_name_and_address_when_they_register(registration_auth: FlaskClient) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, "name": "Ada", "email": "ada@example.com"}

    response = registration_auth.post("/users", json=body)

    assert response.status_code == 201
    assert profile_of(response.json) == ("Ada", "ada@example.com", False)


def test_users_cannot_register_with_a_verified_address(registration_auth: FlaskClient) -> None:
    body = {"username": "ada", "password": GOOD_PASSWORD, **ADA}

    for headers in ({}, bearer(get_token(registration_auth))):
        response = registration_auth.post("/users", json=body, headers=headers)

        assert (response.status_code, response.get_json()["error"]) == (403, "insufficient_scope")
    assert registration_auth.post("/users", json={**body, "email_verified": False}).status_code == 201
    assert not find_user(registration_auth, "ada").email_verified
