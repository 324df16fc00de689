"""Password hashes: their strength, their upgrade at login, and the same work where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, Type, extract_parameters
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from auth_app.models import User
from auth_app.passwords import Hashing, hash_password, is_password_hash, verify_password
from tests.conftest import KeyPair, bearer, change_row, find_user, get_token, log_in, open_auth

PASSWORD = "correct horse"

# Hashes that users bring along from elsewhere, or from days of other settings.
OLD_HASHES = {
    "werkzeug": generate_password_hash(PASSWORD),
    "werkzeug scrypt": generate_password_hash(PASSWORD, "scrypt:1024:8:1"),
    "werkzeug pbkdf2": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000"),
    "weaker argon2id": PasswordHasher(1, 1024, 1).hash(PASSWORD),
    "argon2i": PasswordHasher(2, 19456, 1, type=Type.I).hash(PASSWORD),
}

NO_HASHES = [
    "",
    "x",
    "password",
    "plain$salt$abc",
    "$argon2id$",
    "$argon2id$v=19$m=1$x",
    "scrypt:1",
    "scrypt:x$y$Z",
]


@pytest.fixture
def _in_application(auth: FlaskClient) -> Iterator[None]:
    with auth.application.app_context():
        yield


in_application = pytest.mark.usefixtures("_in_application")


@contextmanager
def no_turn_left(client: FlaskClient) -> Iterator[None]:
    """Hold every turn to hash, as logins do that are under way."""
    hashing: Hashing = client.application.extensions["hashing"]
    held = 0
    while hashing.turns.acquire(blocking=False):
        held += 1
    assert held > 0
    yield
    hashing.turns.release(held)


def give_hash(client: FlaskClient, password_hash: str) -> None:
    change_row(client, sa.update(User).where(User.username == "student1").values(password_hash=password_hash))


@in_application
def test_hash_is_argon2id_at_the_minimum_of_owasp_or_above() -> None:
    found = extract_parameters(hash_password("x"))

    assert found.type.name == "ID"
    assert found.memory_cost >= 19 * 1024
    assert found.time_cost >= 2
    assert found.parallelism == 1


def test_hash_has_the_parameters_of_the_settings(key_pair: KeyPair, new_database: Callable[[], str]) -> None:
    with open_auth(new_database(), key_pair, argon2_memory=47104, argon2_passes=1) as client:
        log_in(client)
        found = extract_parameters(find_user(client, "student1").password_hash)

    assert (found.memory_cost, found.time_cost) == (47104, 1)


@in_application
def test_password_is_verified_against_its_own_hash_only() -> None:
    hashed = hash_password("right")

    assert verify_password(hashed, "right")
    assert not verify_password(hashed, "wrong")


@in_application
@pytest.mark.parametrize("text", NO_HASHES)
def test_what_is_no_hash_opens_to_no_password(text: str) -> None:
    assert not is_password_hash(text)
    assert not verify_password(text, "")
    assert not verify_password(text, "password")


@in_application
def test_missing_hash_costs_a_full_verification_and_opens_to_no_password(auth: FlaskClient) -> None:
    """The decoy has the parameters of a real hash, and its own password is refused too."""
    hashing: Hashing = auth.application.extensions["hashing"]

    assert extract_parameters(hashing.decoy) == extract_parameters(hash_password("x"))
    assert hashing.hasher.verify(hashing.decoy, "")
    assert not verify_password(None, "")
    assert not verify_password(None, "x")


class WatchedHasher(PasswordHasher):
    """Verifies as ever, and notes what."""

    def __init__(self) -> None:
        super().__init__(2, 19456, 1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        self.verified.append(str(hash))
        return super().verify(hash, password)


@pytest.mark.parametrize("username", ["student1", "teacher1", "nobody"])
def test_every_failed_login_verifies_one_hash_of_the_same_cost(username: str, auth: FlaskClient) -> None:
    hasher = WatchedHasher()
    auth.application.extensions["hashing"] = replace(auth.application.extensions["hashing"], hasher=hasher)
    change_row(auth, sa.update(User).where(User.username == "teacher1").values(is_disabled=True))

    response = auth.post("/token", data={"username": username, "password": "wrong"})

    assert response.status_code == 400
    (verified,) = hasher.verified
    assert extract_parameters(verified) == extract_parameters(hasher.hash("x"))


@in_application
@pytest.mark.parametrize("old_hash", OLD_HASHES.values(), ids=OLD_HASHES)
def test_old_hash_is_accepted_and_replaced_at_login(old_hash: str, auth: FlaskClient) -> None:
    give_hash(auth, old_hash)

    wrong = auth.post("/token", data={"username": "student1", "password": "wrong"})
    kept = find_user(auth, "student1").password_hash
    log_in(auth, password=PASSWORD)
    replaced = find_user(auth, "student1").password_hash
    log_in(auth, password=PASSWORD)

    assert is_password_hash(old_hash)
    assert wrong.status_code == 400
    assert kept == old_hash
    assert extract_parameters(replaced) == extract_parameters(hash_password("x"))
    assert find_user(auth, "student1").password_hash == replaced, "a hash of today is left as it is"


def test_refused_login_leaves_the_old_hash_of_a_disabled_user(auth: FlaskClient) -> None:
    give_hash(auth, OLD_HASHES["werkzeug"])
    change_row(auth, sa.update(User).values(is_disabled=True))

    response = auth.post("/token", data={"username": "student1", "password": PASSWORD})

    assert response.status_code == 400
    assert find_user(auth, "student1").password_hash == OLD_HASHES["werkzeug"]


def test_login_beyond_the_cap_is_sent_away_soon(auth: FlaskClient) -> None:
    token = get_token(auth)
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "login": ("POST", "/token", {"data": {"username": "student1", "password": "password123"}}),
        "login of nobody": ("POST", "/token", {"data": {"username": "nobody", "password": "password123"}}),
        "change": (
            "PUT",
            "/users/me/password",
            {
                "json": {"current_password": "password123", "new_password": PASSWORD},
                "headers": bearer(token),
            },
        ),
    }

    with no_turn_left(auth):
        responses = [auth.open(path, method=method, **kwargs) for method, path, kwargs in requests.values()]
        others = [auth.get("/users/me", headers=bearer(token)), auth.get("/.well-known/jwks.json")]

    for response in responses:
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json
        assert response.json["error"] == "temporarily_unavailable"
    assert [response.status_code for response in others] == [200, 200]
    assert log_in(auth), "every turn was given back"
