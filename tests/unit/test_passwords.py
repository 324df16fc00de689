"""Password hashes: strength, rehashing at login, and failures that all take the same time."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, Type, extract_parameters
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from auth_app.accounts.decoys import MAXIMUM_KINDS, find_decoys, make_decoy
from auth_app.accounts.passwords import (
    Hashing,
    hash_password,
    is_password_hash,
    parameters_of,
    verify_password,
)
from auth_app.metrics import PASSWORD_HASHES
from auth_app.models import User
from auth_app.settings import AuthSettings
from shared.errors import Unavailable
from tests.conftest import (
    CHEAP_HASHES,
    KeyPair,
    bearer,
    both_databases,
    change_row,
    find_user,
    get_token,
    log_in,
    open_auth,
)

PASSWORD = "correct horse"

# Hashes imported from elsewhere, or made under earlier settings.
OLD_HASHES = {
    "werkzeug": generate_password_hash(PASSWORD),
    "werkzeug scrypt": generate_password_hash(PASSWORD, "scrypt:1024:8:1"),
    "werkzeug pbkdf2": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000"),
    "weaker argon2id": PasswordHasher(1, 1024, 1).hash(PASSWORD),
    "argon2i": PasswordHasher(2, 19456, 1, type=Type.I).hash(PASSWORD),
}

NOT_HASHES = [
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
def auth(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An authorization server whose hashes cost what they cost by default."""
    costs = {name: AuthSettings.model_fields[name].default for name in CHEAP_HASHES}
    with open_auth(new_database(), key_pair, **costs) as client:
        yield client


@pytest.fixture
def _in_application(auth: FlaskClient) -> Iterator[None]:
    with auth.application.app_context():
        yield


in_application = pytest.mark.usefixtures("_in_application")


@contextmanager
def no_place_left(client: FlaskClient) -> Iterator[None]:
    """Acquire the semaphore as often as possible, as concurrent logins would."""
    hashing: Hashing = client.application.extensions["hashing"]
    held = 0
    while hashing.semaphore.acquire(blocking=False):
        held += 1
    assert held > 0
    yield
    hashing.semaphore.release(held)


def give_hash(client: FlaskClient, password_hash: str, username: str = "student1") -> None:
    values = {"password_hash": password_hash, "password_parameters": parameters_of(password_hash)}
    change_row(client, sa.update(User).where(User.username == username).values(values))


@in_application
def test_hash_is_argon2id_with_at_least_the_owasp_minimum() -> None:
    found = extract_parameters(hash_password("x"))

    assert found.type.name == "ID"
    assert found.memory_cost >= 19 * 1024
    assert found.time_cost >= 2
    assert found.parallelism == 1


def test_hash_uses_the_configured_parameters(key_pair: KeyPair, new_database: Callable[[], str]) -> None:
    with open_auth(new_database(), key_pair, argon2_memory=47104, argon2_passes=1) as client:
        log_in(client)
        found = extract_parameters(find_user(client, "student1").password_hash)

    assert (found.memory_cost, found.time_cost) == (47104, 1)


@in_application
def test_only_the_right_password_matches_a_hash() -> None:
    hashed = hash_password("right")

    assert verify_password(hashed, "right")
    assert not verify_password(hashed, "wrong")


@in_application
@pytest.mark.parametrize("text", NOT_HASHES)
def test_malformed_hash_matches_no_password(text: str) -> None:
    assert not is_password_hash(text)
    for password in ("", "password"):
        with pytest.raises(Unavailable) if text else nullcontext():
            assert not verify_password(text, password)


@in_application
def test_missing_hash_matches_no_password() -> None:
    assert not verify_password(None, "")
    assert not verify_password(None, "x")


# Failed logins cost the same


def count_hashes() -> Counter[str]:
    """Return how many hashes have been computed so far, by parameters."""
    return Counter(
        {
            sample.labels["parameters"]: int(sample.value)
            for metric in PASSWORD_HASHES.collect()
            for sample in metric.samples
            if sample.name == "password_hashes_total"
        }
    )


def hashes_of_login(client: FlaskClient, username: str, password: str) -> tuple[int, Counter[str]]:
    """Return the status of a login, and the hashes that it computed."""
    before = count_hashes()
    status = client.post("/token", data={"username": username, "password": password}).status_code
    return status, count_hashes() - before


WHO = {
    "current hash": ("student1", "wrong"),
    "weaker hash": ("weaker argon2id", "wrong"),
    "imported hash": ("werkzeug", "wrong"),
    "other imported hash": ("werkzeug pbkdf2", "wrong"),
    "unknown user": ("nobody", "wrong"),
    "disabled user": ("teacher1", "wrong"),
    "disabled user, right password": ("teacher1", "password456"),
    "disabled user with an imported hash, right password": ("disabled", PASSWORD),
}


@both_databases
@pytest.mark.parametrize(("username", "password"), WHO.values(), ids=WHO)
def test_failed_login_computes_a_hash_of_every_kind_in_use(
    username: str, password: str, auth: FlaskClient
) -> None:
    add_users(auth, OLD_HASHES | {"disabled": OLD_HASHES["werkzeug scrypt"]})
    change_row(
        auth, sa.update(User).where(User.username.in_(["teacher1", "disabled"])).values(is_disabled=True)
    )
    current = parameters_of(find_user(auth, "student1").password_hash)

    found = hashes_of_login(auth, username, password)

    assert found == (400, Counter({current, *map(parameters_of, OLD_HASHES.values())}))


@pytest.mark.parametrize("username", ["student1", "nobody"])
def test_failed_login_computes_one_hash_if_only_one_kind_is_in_use(username: str, auth: FlaskClient) -> None:
    status, hashes = hashes_of_login(auth, username, "wrong")

    assert (status, hashes.total()) == (400, 1)


@pytest.mark.parametrize("username", ["student1", "nobody"])
def test_failed_login_computes_a_hash_with_new_settings_at_once(
    username: str, key_pair: KeyPair, new_database: Callable[[], str]
) -> None:
    with open_auth(new_database(), key_pair, argon2_memory=47104, argon2_passes=1) as client:
        give_hash(client, PasswordHasher(2, 19456, 1).hash(PASSWORD))
        found = hashes_of_login(client, username, "wrong")

    assert found == (400, Counter(["$argon2id$v=19$m=47104,t=1,p=1", "$argon2id$v=19$m=19456,t=2,p=1"]))


def test_successful_login_computes_one_hash_whatever_kinds_others_have(auth: FlaskClient) -> None:
    add_users(auth, OLD_HASHES)

    status, hashes = hashes_of_login(auth, "student1", "password123")

    assert (status, hashes.total()) == (200, 1)


def add_users(client: FlaskClient, hashes: dict[str, str]) -> None:
    """Add users with these hashes, by user name."""
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        for username, password_hash in hashes.items():
            parameters = parameters_of(password_hash)
            session.add(
                User(username=username, password_hash=password_hash, password_parameters=parameters, roles=[])
            )
        session.commit()


@both_databases
def test_most_expensive_kinds_of_hash_are_kept_when_there_are_too_many(auth: FlaskClient) -> None:
    kinds = [f"$argon2id$v=19$m={memory},t=1,p=1" for memory in range(1000, 1040)]
    kinds += ["pbkdf2:sha256:1000000", "scrypt:32768:8:1", "not the parameters of a hash", ""]
    add_users(auth, {str(n): f"{kind}$salt$0" for n, kind in enumerate(kinds)})

    with auth.application.app_context():
        decoys = find_decoys("$argon2id$v=19$m=19456,t=2,p=1")

    assert len(decoys) == MAXIMUM_KINDS
    assert list(decoys)[:5] == [
        "$argon2id$v=19$m=19456,t=2,p=1",
        "pbkdf2:sha256:1000000",
        "scrypt:32768:8:1",
        "$argon2id$v=19$m=1039,t=1,p=1",
        "$argon2id$v=19$m=1038,t=1,p=1",
    ]


@in_application
@pytest.mark.parametrize("password_hash", OLD_HASHES.values(), ids=OLD_HASHES)
def test_decoy_has_the_same_parameters_and_rejects_an_empty_password(password_hash: str) -> None:
    decoy = make_decoy(parameters_of(password_hash))

    assert parameters_of(decoy) == parameters_of(password_hash)
    assert is_password_hash(decoy)
    assert not verify_password(decoy, "")


# Only a wrong password is a failed login

BROKEN_HASHES = {
    "not a hash": "correct horse",
    "truncated": "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA",
    "argon2 without costs": "$argon2id$v=19$m=0,t=0,p=0$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43,
    "argon2 of 4 TiB": "$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43,
    "scrypt beyond its own limit": "scrypt:1048576:8:4000$salt$" + "0" * 128,
    "scrypt with a huge cost": f"scrypt:{2**80}:8:1$salt$" + "0" * 128,
    "unknown digest": "pbkdf2:rot13:1000$salt$" + "0" * 64,
}


@both_databases
@pytest.mark.parametrize("password_hash", BROKEN_HASHES.values(), ids=BROKEN_HASHES)
def test_unverifiable_hash_is_not_counted_as_a_failed_login(
    password_hash: str, auth: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    token = get_token(auth)
    give_hash(auth, password_hash)
    body = {"current_password": PASSWORD, "new_password": "another good password"}

    responses = [auth.post("/token", data={"username": "student1", "password": PASSWORD}) for _ in range(7)]
    responses.append(auth.put("/users/me/password", json=body, headers=bearer(token)))

    for response in responses:
        assert response.status_code == 503
        assert response.json
        assert response.json["error"] == "temporarily_unavailable"
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == len(responses)
    for error in errors:
        assert error.startswith("cannot compute a password hash: ")
        assert PASSWORD not in error
    give_hash(auth, OLD_HASHES["werkzeug scrypt"])
    assert log_in(auth, password=PASSWORD), "nothing was counted against the account"


@pytest.mark.parametrize("username", ["teacher1", "nobody"])
def test_guesses_are_counted_even_if_a_decoy_cannot_be_computed(username: str, auth: FlaskClient) -> None:
    """Otherwise wrong guesses would get 503 without being counted, and only the right one would get 200."""
    give_hash(auth, BROKEN_HASHES["argon2 of 4 TiB"])
    form = {"username": username, "password": "wrong"}

    assert [auth.post("/token", data=form).status_code for _ in range(6)] == [400] * 5 + [429]


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
    assert find_user(auth, "student1").password_hash == replaced, "a current hash is not replaced"


def test_refused_login_of_a_disabled_user_does_not_replace_the_old_hash(auth: FlaskClient) -> None:
    give_hash(auth, OLD_HASHES["werkzeug"])
    change_row(auth, sa.update(User).values(is_disabled=True))

    response = auth.post("/token", data={"username": "student1", "password": PASSWORD})

    assert response.status_code == 400
    assert find_user(auth, "student1").password_hash == OLD_HASHES["werkzeug"]


def test_requests_beyond_the_hashing_limit_get_503_with_retry_after(auth: FlaskClient) -> None:
    token = get_token(auth)
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "login": ("POST", "/token", {"data": {"username": "student1", "password": "password123"}}),
        "unknown user": ("POST", "/token", {"data": {"username": "nobody", "password": "password123"}}),
        "change": (
            "PUT",
            "/users/me/password",
            {
                "json": {"current_password": "password123", "new_password": PASSWORD},
                "headers": bearer(token),
            },
        ),
    }

    with no_place_left(auth):
        responses = [auth.open(path, method=method, **kwargs) for method, path, kwargs in requests.values()]
        others = [auth.get("/users/me", headers=bearer(token)), auth.get("/.well-known/jwks.json")]

    for response in responses:
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json
        assert response.json["error"] == "temporarily_unavailable"
    assert [response.status_code for response in others] == [200, 200]
    assert log_in(auth), "the semaphore was released each time"
