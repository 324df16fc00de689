"""Users who log in again from a known address are not throttled because of what others do."""

import re
import time
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from auth_app.accounts.decoys import IN_USE
from auth_app.accounts.known_addresses import ADDRESSES_PER_USER, KNOWN_FOR, current_address, hash_key
from auth_app.accounts.throttle import (
    ACCOUNT_ALLOWANCE,
    ADDRESS_ALLOWANCE,
    ADDRESS_ALLOWANCE_PER_USER,
    COUNTS,
    MAXIMUM_ADDRESS_ALLOWANCE,
    PAIR_ALLOWANCE,
    address_allowance,
)
from auth_app.models import KnownAddress, LoginFailure, User
from tests.conftest import both_databases, find_user
from tests.unit.test_login_limits import (
    HERE,
    THERE,
    fail_from,
    fail_from_everywhere,
    let_time_pass,
    statuses,
    try_login,
)


def log_in_from(
    client: FlaskClient, address: str, username: str = "student1", password: str = "password123"
) -> int:
    return try_login(client, username, password, address).status_code


def known_addresses(client: FlaskClient, username: str = "student1") -> list[str]:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        statement = sa.select(KnownAddress.address).where(User.username == username)
        return list(session.scalars(statement.join(User, User.id == KnownAddress.user_id)))


def insert_rows(client: FlaskClient, model: type, rows: list[dict[str, object]]) -> None:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        session.execute(sa.insert(model), rows)
        session.commit()


@both_databases
def test_strangers_cannot_lock_a_user_out_at_a_known_address(auth: FlaskClient) -> None:
    """A stranger guesses every three seconds for a quarter of an hour."""
    assert log_in_from(auth, HERE) == 200
    guesses, logins = [], []
    for number in range(300):
        guesses.append(try_login(auth, address=THERE if number % 2 else f"198.51.100.{number}").status_code)
        let_time_pass(auth, 3)
        if number % 30 == 29:
            logins.append(log_in_from(auth, HERE))

    assert logins == [200] * 10
    assert guesses.count(400) < 40


@both_databases
def test_typing_errors_of_many_users_behind_one_address_do_not_block_others(auth: FlaskClient) -> None:
    add_users(auth, 55)
    assert log_in_from(auth, HERE, "teacher1", "password456") == 200

    typos = [try_login(auth, f"person{number}", address=HERE).status_code for number in range(54)]

    assert typos == [400] * 54
    assert log_in_from(auth, HERE, "person54") == 200


def add_users(client: FlaskClient, count: int) -> None:
    """Add users with the password of student1."""
    student = find_user(client, "student1")
    hashes = {name: getattr(student, name) for name in ("password_hash", "password_parameters")}
    rows = [{"username": f"person{number}", "roles": [], **hashes} for number in range(count)]
    insert_rows(client, User, rows)


@both_databases
def test_account_limit_does_not_apply_at_the_users_own_known_addresses(auth: FlaskClient) -> None:
    for username, password in (("student1", "password123"), ("teacher1", "password456")):
        assert log_in_from(auth, HERE, username, password) == 200
    assert log_in_from(auth, THERE, "teacher1", "password456") == 200
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)

    assert log_in_from(auth, THERE) == 429, "it is known for another user"
    assert log_in_from(auth, HERE) == 200


@both_databases
def test_address_limit_does_not_apply_to_users_known_there(auth: FlaskClient) -> None:
    assert log_in_from(auth, HERE) == 200
    fail_from(auth, HERE, ADDRESS_ALLOWANCE + ADDRESS_ALLOWANCE_PER_USER)

    assert log_in_from(auth, HERE, "teacher1", "password456") == 429
    assert log_in_from(auth, HERE) == 200


def test_failures_at_a_known_address_throttle_the_user_only_there(auth: FlaskClient) -> None:
    assert log_in_from(auth, HERE) == 200

    assert statuses(auth, PAIR_ALLOWANCE) == {400}
    assert log_in_from(auth, HERE) == 429
    assert log_in_from(auth, THERE) == 200


@both_databases
def test_address_is_unknown_again_after_thirty_days(auth: FlaskClient) -> None:
    assert log_in_from(auth, HERE) == 200
    let_time_pass(auth, KNOWN_FOR - 60)
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)
    assert try_login(auth, address=HERE).status_code == 400
    let_time_pass(auth, 120)
    fail_from_everywhere(auth, 1)

    assert log_in_from(auth, HERE) == 429


@pytest.mark.parametrize("seconds", [0, 86400 + 1])
def test_address_allowance_grows_with_the_users_of_the_last_day(seconds: int, auth: FlaskClient) -> None:
    assert log_in_from(auth, HERE) == 200
    let_time_pass(auth, seconds)
    fail_from(auth, HERE, ADDRESS_ALLOWANCE)

    assert try_login(auth, "x", address=HERE).status_code == (429 if seconds else 400)


def test_address_allowance_has_a_maximum() -> None:
    assert [address_allowance(users) for users in (0, 1, 10)] == [50, 60, 150]
    assert address_allowance(10**6) == MAXIMUM_ADDRESS_ALLOWANCE == 1000


@pytest.mark.parametrize(
    ("password", "scope", "status"),
    [("password123", "", 200), ("wrong", "", 400), ("password123", "users:manage", 400)],
)
def test_only_a_successful_login_makes_an_address_known(
    password: str, scope: str, status: int, auth: FlaskClient
) -> None:
    form = {"username": "student1", "password": password} | ({"scope": scope} if scope else {})

    assert auth.post("/token", data=form).status_code == status
    assert len(known_addresses(auth)) == (status == 200)


@both_databases
def test_number_of_known_addresses_per_user_is_limited(auth: FlaskClient) -> None:
    user, now = find_user(auth, "student1").id, int(time.time())
    rows = [
        {"user_id": user, "address": str(n), "last_login_at": now - n - 1} for n in range(ADDRESSES_PER_USER)
    ]
    insert_rows(auth, KnownAddress, rows)
    assert log_in_from(auth, HERE, "teacher1", "password456") == 200

    for _ in range(2):
        assert log_in_from(auth, HERE) == 200

    known = set(known_addresses(auth))
    assert known == {str(n) for n in range(ADDRESSES_PER_USER - 1)} | {hash_key(f"address {HERE}")}
    assert len(known_addresses(auth, "teacher1")) == 1


@both_databases
def test_only_addresses_unused_for_thirty_days_are_removed(auth: FlaskClient) -> None:
    user, now = find_user(auth, "student1").id, int(time.time())
    rows = [
        {"user_id": user, "address": address, "last_login_at": now - KNOWN_FOR + seconds}
        for address, seconds in (("expired", -1), ("fresh", 60))
    ]
    insert_rows(auth, KnownAddress, rows)

    assert log_in_from(auth, HERE, "teacher1", "password456") == 200

    assert known_addresses(auth) == ["fresh"]


# Rows that an attacker can create make no statement slow


@both_databases
def test_login_queries_use_indexes(auth: FlaskClient) -> None:
    now, user = time.time(), find_user(auth, "student1").id
    for column, other in (("account", "address"), ("address", "account")):
        rows = [{column: "one", other: str(n), "failed_at": now - n / 100} for n in range(10_000)]
        insert_rows(auth, LoginFailure, rows)
    add_users(auth, 2_000)
    with auth.application.app_context():
        users = auth.application.extensions["sqlalchemy"].session.scalars(sa.select(User.id)).all()
    rows = [
        {"user_id": user, "address": address, "last_login_at": int(now) - number}
        for number, user in enumerate(users)
        for address in {str(user), "one" if number % 10 == 0 else str(number)}
    ]
    insert_rows(auth, KnownAddress, rows)
    parameters = {
        "account": "one",
        "address": "one",
        "user": user,
        "own": 0,
        "since": now - 3600,
        "until": now,
        "known_since": now - KNOWN_FOR,
        "day_since": now - 86400,
    }

    indexes = {
        COUNTS.params(**parameters): [
            "ix_login_failures_pair",
            "ix_login_failures_account",
            "ix_login_failures_address",
            "ix_known_addresses_address",
        ],
        IN_USE: ["ix_users_password_parameters"],
    }
    for statement, names in indexes.items():
        plan = explain(auth, statement)
        assert [name for name in names if name not in plan] == []
        assert not re.search(r"Seq Scan|SCAN (login_failures|known_addresses|users)(?! USING)", plan), plan


def explain(client: FlaskClient, statement: Any) -> str:
    with client.application.app_context():
        engine = client.application.extensions["sqlalchemy"].engine
        is_sqlite = engine.dialect.name == "sqlite"
        compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' * is_sqlite}{compiled}")
            return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1:5555", True),
        ("2001:db8::1", "[2001:db8::2]:443", True),
        ("192.0.2.1:80", "192.0.2.2:80", False),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_port_of_an_address_is_ignored(one: str, other: str, is_same: bool) -> None:
    """Some proxies put it into X-Forwarded-For."""
    digests = set()
    for address in (one, other):
        with Flask("any").test_request_context(environ_base={"REMOTE_ADDR": address}):
            digests.add(current_address())

    assert (len(digests) == 1) is is_same
