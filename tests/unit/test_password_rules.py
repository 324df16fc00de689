"""The same rules apply to new passwords wherever they are set."""

import pytest
from flask.testing import FlaskClient

from auth_app.accounts.password_rules import check_new_password
from auth_app.errors import InvalidPassword
from tests.conftest import bearer, get_token, run_command
from tests.servers import ROOT

GOOD = {
    "eight characters": "kq7!vz9p",
    "128 characters": "ab" * 64,
    "spaces": "correct horse",
    "another alphabet": "\u043a\u043e\u043d\u044c \u0431\u0430\u0442\u0430\u0440\u0435\u044f",
    "128 characters after NFKC": "e\u0301x" * 64,
    "the user name and more": "ada.lovelace!",
}
BAD = {
    "empty": ("", "8 characters or more"),
    "seven characters": ("kq7!vz9", "8 characters or more"),
    "seven characters after NFKC": ("kq7!vze\u0301", "8 characters or more"),
    "129 characters": ("ab" * 64 + "a", "128 characters or fewer"),
    "129 characters after NFKC": ("\ufb01" * 64 + "a", "128 characters or fewer"),
    "the user name": ("ada.lovelace", "the user name"),
    "the user name in capitals": ("ADA.Lovelace", "the user name"),
    "common": ("password123", "most common"),
    "common in capitals": ("PassWord123", "most common"),
    "common in full width": ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11", "most common"),
    "common digits": ("12345678", "most common"),
    "common keyboard pattern": ("qwertyuiop", "most common"),
}


@pytest.mark.parametrize("password", GOOD.values(), ids=GOOD)
def test_good_password_is_accepted(password: str, auth: FlaskClient) -> None:
    headers = bearer(get_token(auth, "admin1"))

    check_new_password("ada.lovelace", password)

    body = {"username": "ada.lovelace", "password": password}
    assert auth.post("/users", json=body, headers=headers).status_code == 201


@pytest.mark.parametrize(("password", "sentence"), BAD.values(), ids=BAD)
def test_bad_password_is_refused(password: str, sentence: str) -> None:
    with pytest.raises(InvalidPassword) as error:
        check_new_password("ada.lovelace", password)

    assert sentence in error.value.description
    assert password not in error.value.description or not password


@pytest.mark.parametrize("password", ["12345678", "student1", "kq7!vz9"])
def test_rules_apply_wherever_a_password_is_set(password: str, auth: FlaskClient) -> None:
    admin, student = bearer(get_token(auth, "admin1")), bearer(get_token(auth))
    change = {"current_password": "password123", "new_password": password}

    responses = [
        auth.put("/users/me/password", json=change, headers=student),
        auth.post("/users", json={"username": password, "password": password}, headers=admin),
    ]
    commands = [
        run_command(auth, "users", "set-password", "student1", stdin=f"{password}\n"),
        run_command(auth, "users", "add", password, stdin=f"{password}\n"),
    ]

    for response in responses:
        assert response.status_code == 400
        assert response.json
        assert response.json["error"] in {"invalid_password", "invalid_request"}
    for command in commands:
        assert command.exit_code == 1
        assert "password" in command.stderr or "user name" in command.stderr


def test_common_passwords_are_distinct_and_at_least_eight_characters_long() -> None:
    lines = (ROOT / "auth_app/accounts/common_passwords.txt").read_text().splitlines()

    assert len(lines) == len(set(lines)) == 3000
    assert min(map(len, lines)) >= 8
