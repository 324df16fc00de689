"""A user name identifies the same user in every Unicode spelling."""

import json

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.throttle import PAIR_ALLOWANCE
from auth_app.models import User
from tests.conftest import bearer, both_databases, change_row, find_user, get_token, log_in, run_command

GOOD_PASSWORD = "correct horse battery"

SPELLINGS = {
    "unchanged": "ann@example.com",
    "first letter capitalised": "Ann@example.com",
    "capitals": "ANN@EXAMPLE.COM",
    "trailing space": "ann@example.com ",
    "spaces around": "  ann@example.com\u00a0",
    "full-width letters": "\uff41\uff4e\uff4e\uff20example.com",
}


def name_student(client: FlaskClient, username: str) -> None:
    change_row(client, sa.update(User).where(User.username == "student1").values(username=username))


@both_databases
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_user_can_log_in_with_any_spelling_of_the_name(spelling: str, auth: FlaskClient) -> None:
    name_student(auth, "ann@example.com")

    answer = log_in(auth, spelling, password="password123")

    me = auth.get("/users/me", headers=bearer(answer["access_token"])).json
    assert me
    assert me["username"] == "ann@example.com"


@pytest.mark.parametrize("name", ["bob@example.com", "\u0430nn@example.com", "ann@example.c\u043em", "an n"])
def test_different_name_is_not_accepted(name: str, auth: FlaskClient) -> None:
    name_student(auth, "ann@example.com")

    response = auth.post("/token", data={"username": name, "password": "password123"})

    assert response.status_code == 400


def test_all_spellings_count_against_one_account(auth: FlaskClient) -> None:
    spellings = ["student1", "Student1", "STUDENT1", "student1 ", "\u017ftudent1"]
    assert len(spellings) == PAIR_ALLOWANCE
    for spelling in spellings:
        assert auth.post("/token", data={"username": spelling, "password": "wrong"}).status_code == 400

    response = auth.post("/token", data={"username": "student1", "password": "password123"})

    assert response.status_code == 429


@both_databases
def test_added_user_gets_the_normalized_name_and_other_spellings_are_taken(auth: FlaskClient) -> None:
    admin = bearer(get_token(auth, "admin1"))
    ann, again = (
        auth.post("/users", json={"username": name, "password": GOOD_PASSWORD}, headers=admin)
        for name in ("Ann@Example.com", "ANN@example.com")
    )

    assert (ann.status_code, ann.json and ann.json["username"]) == (201, "ann@example.com")
    assert (again.status_code, again.json and again.json["error"]) == (409, "username_taken")


def test_commands_accept_every_spelling(auth: FlaskClient) -> None:
    added = run_command(auth, "users", "add", "Ann", stdin=GOOD_PASSWORD)
    shown = run_command(auth, "users", "show", "ANN", "--json")
    disabled = run_command(auth, "users", "disable", "aNN")
    ended = run_command(auth, "sessions", "revoke", "--user", "Ann")

    assert [result.exit_code for result in (added, shown, disabled, ended)] == [0, 0, 0, 0]
    assert added.stdout.startswith("added ann, ")
    assert json.loads(shown.stdout)[0]["username"] == "ann"
    assert find_user(auth, "ann").is_disabled


def test_page_can_start_after_any_spelling_of_a_name(auth: FlaskClient) -> None:
    admin = bearer(get_token(auth, "admin1"))

    page = auth.get("/users", query_string={"after": "Student1"}, headers=admin).json

    assert page
    assert [user["username"] for user in page["users"]] == ["teacher1"]


@pytest.mark.parametrize("password", ["Ann.Lovelace", " ann.lovelace ", "\uff41nn.lovelace"])
def test_no_spelling_of_the_name_is_accepted_as_a_password(password: str, auth: FlaskClient) -> None:
    admin = bearer(get_token(auth, "admin1"))

    response = auth.post("/users", json={"username": "Ann.Lovelace", "password": password}, headers=admin)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_password")
