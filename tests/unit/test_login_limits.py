"""Failed logins are throttled by account and by address, with growing delays."""

import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.accounts.throttle import (
    ACCOUNT_ALLOWANCE,
    ADDRESS_ALLOWANCE,
    MAXIMUM_DELAY,
    MEMORY,
    PAIR_ALLOWANCE,
    SKEW,
)
from auth_app.models import KnownAddress, LoginFailure
from tests.conftest import KeyPair, bearer, both_databases, change_row, get_token, open_auth
from tests.unit.test_passwords import no_place_left

HERE, THERE = "192.0.2.1", "192.0.2.2"


def try_login(
    client: FlaskClient,
    username: str = "student1",
    password: str = "wrong",
    address: str = HERE,
    **headers: str,
) -> TestResponse:
    form = {"username": username, "password": password}
    return client.post("/token", data=form, environ_overrides={"REMOTE_ADDR": address}, headers=headers)


def statuses(client: FlaskClient, count: int, username: str = "student1", address: str = HERE) -> set[int]:
    return {try_login(client, username, address=address).status_code for _ in range(count)}


def let_time_pass(client: FlaskClient, seconds: float) -> None:
    """Make all failures and all known addresses older by some seconds."""
    change_row(client, sa.update(LoginFailure).values(failed_at=LoginFailure.failed_at - seconds))
    change_row(client, sa.update(KnownAddress).values(last_login_at=KnownAddress.last_login_at - seconds))


def fail_from(client: FlaskClient, address: str, count: int) -> None:
    """Fail with a different user name each time."""
    for number in range(count):
        assert try_login(client, f"nobody{number}", address=address).status_code == 400


def fail_from_everywhere(client: FlaskClient, count: int, username: str = "student1") -> None:
    """Fail from a different address each time."""
    for number in range(count):
        assert try_login(client, username, address=f"198.51.100.{number}").status_code == 400


def failures(client: FlaskClient) -> int:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        count: int = session.scalar(sa.select(sa.func.count()).select_from(LoginFailure))
        return count


@both_databases
def test_account_is_throttled_at_an_address_after_a_few_failures(auth: FlaskClient) -> None:
    assert statuses(auth, PAIR_ALLOWANCE) == {400}

    response = try_login(auth, password="password123")

    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert response.json == {
        "error": "too_many_attempts",
        "error_description": "Too many login attempts have failed. Try again later.",
    }


@pytest.mark.parametrize(("excess", "delay"), [(0, 1), (1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (12, 300)])
def test_each_failure_above_the_allowance_doubles_the_delay(
    excess: int, delay: int, auth: FlaskClient
) -> None:
    for _ in range(PAIR_ALLOWANCE + excess):
        change_row(auth, sa.update(LoginFailure).values(failed_at=time.time() - MAXIMUM_DELAY))
        assert try_login(auth).status_code == 400

    assert int(try_login(auth).headers["Retry-After"]) == delay


@both_databases
def test_login_succeeds_once_the_delay_is_over(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE)
    let_time_pass(auth, 1)

    assert try_login(auth, password="password123").status_code == 200


def test_refused_attempts_are_not_counted_as_failures(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE)
    before = failures(auth)

    assert statuses(auth, 20) == {429}
    assert failures(auth) == before


@both_databases
def test_successful_login_resets_the_failures(auth: FlaskClient) -> None:
    for _ in range(3):
        assert statuses(auth, PAIR_ALLOWANCE - 1) == {400}
        assert try_login(auth, password="password123").status_code == 200


def test_unknown_account_is_throttled_like_an_existing_one(auth: FlaskClient) -> None:
    answers = {}
    for username in ("student1", "nobody"):
        assert statuses(auth, PAIR_ALLOWANCE, username) == {400}
        answers[username] = try_login(auth, username)

    assert [answer.status_code for answer in answers.values()] == [429, 429]
    assert answers["student1"].get_data() == answers["nobody"].get_data()


def test_attack_on_one_account_does_not_block_others_at_the_same_address(auth: FlaskClient) -> None:
    assert 429 in statuses(auth, PAIR_ALLOWANCE + 20)

    assert try_login(auth, "teacher1", "password456").status_code == 200


@both_databases
def test_account_is_throttled_everywhere_after_failures_from_many_addresses(auth: FlaskClient) -> None:
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)

    assert try_login(auth, password="password123", address=THERE).status_code == 429
    assert try_login(auth, "teacher1", "password456", address=THERE).status_code == 200


@both_databases
def test_address_is_throttled_after_failures_on_many_accounts(auth: FlaskClient) -> None:
    fail_from(auth, HERE, ADDRESS_ALLOWANCE)

    assert try_login(auth, "teacher1", "password456").status_code == 429
    assert try_login(auth, "teacher1", "password456", address=THERE).status_code == 200


@both_databases
def test_successful_login_resets_only_its_account_at_its_address(auth: FlaskClient) -> None:
    statuses(auth, 3)
    statuses(auth, 2, address=THERE)
    statuses(auth, 2, "nobody")
    assert failures(auth) == 7

    assert try_login(auth, password="password123").status_code == 200

    assert failures(auth) == 4


def test_refused_login_with_the_right_password_resets_nothing(auth: FlaskClient) -> None:
    """Only views commit, so a request refused after the password was verified changes nothing."""
    statuses(auth, 3)
    form = {"username": "student1", "password": "password123", "scope": "users:manage"}

    response = auth.post("/token", data=form, environ_overrides={"REMOTE_ADDR": HERE})

    assert (response.status_code, failures(auth)) == (400, 3)


@both_databases
def test_failure_after_the_delay_is_recorded_once(auth: FlaskClient) -> None:
    """A failure is recorded before the password is verified."""
    statuses(auth, PAIR_ALLOWANCE)
    let_time_pass(auth, 1)

    assert try_login(auth).status_code == 400
    assert failures(auth) == PAIR_ALLOWANCE + 1
    let_time_pass(auth, 2)
    assert try_login(auth, password="password123").status_code == 200
    assert failures(auth) == 0


@both_databases
def test_attempt_that_could_not_be_verified_is_not_counted(auth: FlaskClient) -> None:
    for count in (0, PAIR_ALLOWANCE):
        statuses(auth, count)
        let_time_pass(auth, 1)
        with no_place_left(auth):
            assert try_login(auth, password="password123").status_code == 503
        assert failures(auth) == count
    assert try_login(auth, password="password123").status_code == 200


@both_databases
def test_failure_recorded_by_a_replica_with_a_fast_clock_is_ignored(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE)
    let_time_pass(auth, -SKEW - 5)

    assert try_login(auth, password="password123").status_code == 200


def test_password_change_counts_as_a_login_from_its_address(auth: FlaskClient) -> None:
    headers = bearer(get_token(auth))
    body = {"current_password": "wrong", "new_password": "another good password"}
    for _ in range(PAIR_ALLOWANCE):
        assert auth.put("/users/me/password", json=body, headers=headers).status_code == 400

    assert try_login(auth, password="password123", address="127.0.0.1").status_code == 429
    assert try_login(auth, password="password123", address=THERE).status_code == 200


def test_ipv6_network_of_64_bits_counts_as_one_address(auth: FlaskClient) -> None:
    for number in range(ADDRESS_ALLOWANCE):
        assert try_login(auth, f"nobody{number}", address=f"2001:db8::{number:x}:1").status_code == 400

    assert try_login(auth, "x", address="2001:db8::ffff").status_code == 429
    assert try_login(auth, "x", address="2001:db8:0:1::1").status_code == 400


@both_databases
def test_failure_is_forgotten_and_its_row_deleted_after_an_hour(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE)
    let_time_pass(auth, MEMORY)

    assert statuses(auth, PAIR_ALLOWANCE) == {400}
    assert failures(auth) == PAIR_ALLOWANCE


def test_refused_attempt_computes_no_hash(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE)

    with no_place_left(auth):
        assert try_login(auth, password="password123").status_code == 429
        assert try_login(auth, "teacher1", "password456").status_code == 503, "which would need one"


def test_ipv4_mapped_address_counts_as_the_ipv4_address(auth: FlaskClient) -> None:
    fail_from(auth, f"::ffff:{HERE}", ADDRESS_ALLOWANCE)

    assert try_login(auth, "x", address=HERE).status_code == 429
    assert try_login(auth, "x", address=f"::ffff:{THERE}").status_code == 400


@pytest.mark.parametrize("address", ["", "unix:", "a" * 1000])
def test_failure_of_a_peer_without_an_address_is_counted(address: str, auth: FlaskClient) -> None:
    assert try_login(auth, address=address).status_code == 400
    assert failures(auth) == 1


@pytest.fixture
def behind_proxy(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, trusted_proxies=1) as client:
        yield client


@pytest.mark.parametrize("service", ["auth", "behind_proxy"])
def test_forwarded_address_is_used_only_behind_a_trusted_proxy(
    service: str, request: pytest.FixtureRequest
) -> None:
    client: FlaskClient = request.getfixturevalue(service)
    for number in range(ADDRESS_ALLOWANCE):
        invented = {"X-Forwarded-For": f"203.0.113.{number}, {HERE}"}
        assert try_login(client, f"nobody{number}", address="127.0.0.1", **invented).status_code == 400

    same, other = (
        try_login(client, "x", address="127.0.0.1", **{"X-Forwarded-For": address}).status_code
        for address in (HERE, THERE)
    )

    assert (same, other) == ((429, 400) if service == "behind_proxy" else (429, 429))
