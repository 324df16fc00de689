"""Guesses on the sign-in page are throttled, and do not affect users in a known browser."""

import time

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.accounts.known_addresses import ADDRESSES_PER_USER, KNOWN_FOR
from auth_app.accounts.throttle import (
    ACCOUNT_ALLOWANCE,
    ADDRESS_ALLOWANCE,
    ADDRESS_ALLOWANCE_PER_USER,
    PAIR_ALLOWANCE,
)
from auth_app.models import KnownAddress
from tests.conftest import PASSWORDS, both_databases, find_user, run_command
from tests.sign_in import fields_of, new_browser
from tests.unit.test_known_addresses import insert_rows, known_addresses
from tests.unit.test_login_limits import (
    HERE,
    THERE,
    fail_from,
    fail_from_everywhere,
    failures,
    let_time_pass,
    statuses,
    try_login,
)

pytestmark = both_databases

NOWHERE = "203.0.113.99"  # no one has signed in from here yet


def try_page(
    browser: FlaskClient, username: str = "student1", password: str | None = None, address: str = HERE
) -> TestResponse:
    """Sign in on the page, with the right password unless another is given."""
    form = fields_of(new_browser(browser).get("/login") if signed_in(browser) else browser.get("/login"))
    if signed_in(browser):
        form["form_token"] = fields_of(browser.get("/account/password"))["form_token"]
    form |= {"username": username, "password": password or PASSWORDS[username]}
    return browser.post("/login", data=form, environ_overrides={"REMOTE_ADDR": address})


def signed_in(browser: FlaskClient) -> bool:
    return browser.get("/login").status_code == 303


def guess(browser: FlaskClient, count: int, address: str = HERE, username: str = "student1") -> set[int]:
    return {try_page(browser, username, "wrong", address).status_code for _ in range(count)}


@pytest.fixture
def known(auth: FlaskClient) -> FlaskClient:
    """A browser in which student1 has signed in once, and out again."""
    browser = new_browser(auth)
    assert try_page(browser).status_code == 303
    assert browser.post("/logout", data=fields_of(browser.get("/logout"))).status_code == 303
    return browser


def test_failures_on_the_page_and_at_the_token_endpoint_count_together(auth: FlaskClient) -> None:
    assert statuses(auth, 3) == {400}
    assert guess(new_browser(auth), PAIR_ALLOWANCE - 3) == {400}

    page, answer = try_page(new_browser(auth)), try_login(auth, password="password123")

    assert (page.status_code, answer.status_code) == (429, 429)
    assert page.headers["Retry-After"] == "1"
    assert "Too many failed attempts." in page.text
    assert not signed_in(auth)
    assert try_page(auth, address=THERE).status_code == 303


def test_page_gives_the_same_responses_for_an_unknown_user(auth: FlaskClient) -> None:
    answers = []
    for username in ("student1", "nobody99"):
        browser = new_browser(auth)
        codes = [try_page(browser, username, "wrong").status_code for _ in range(PAIR_ALLOWANCE + 1)]
        answers.append(codes)

    assert answers[0] == answers[1] == [400] * PAIR_ALLOWANCE + [429]


def test_successful_sign_in_resets_the_failure_count(auth: FlaskClient) -> None:
    statuses(auth, PAIR_ALLOWANCE - 1)

    assert try_page(auth).status_code == 303

    assert failures(auth) == 0


def test_form_from_another_site_does_not_count_as_a_failure(auth: FlaskClient) -> None:
    """Otherwise the site could lock out its visitors."""
    for _ in range(PAIR_ALLOWANCE + 1):
        auth.post("/login", data={"username": "student1", "password": "wrong", "form_token": "x"})

    assert failures(auth) == 0


def test_guesses_from_many_addresses_do_not_block_a_known_browser(
    auth: FlaskClient, known: FlaskClient
) -> None:
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)

    assert try_page(new_browser(auth), address=NOWHERE).status_code == 429
    assert try_page(known, address=NOWHERE).status_code == 303


def test_guesses_from_the_same_address_do_not_block_a_known_browser(
    auth: FlaskClient, known: FlaskClient
) -> None:
    assert guess(new_browser(auth), PAIR_ALLOWANCE) == {400}

    assert try_page(new_browser(auth)).status_code == 429
    assert try_page(known).status_code == 303


def test_failures_of_other_accounts_at_an_address_do_not_block_a_known_browser(
    auth: FlaskClient, known: FlaskClient
) -> None:
    fail_from(auth, NOWHERE, ADDRESS_ALLOWANCE)

    assert try_page(new_browser(auth), address=NOWHERE).status_code == 429
    assert try_page(known, address=NOWHERE).status_code == 303


def test_signing_in_makes_the_address_known_too(auth: FlaskClient, known: FlaskClient) -> None:
    fail_from(auth, HERE, ADDRESS_ALLOWANCE + ADDRESS_ALLOWANCE_PER_USER)

    assert try_page(new_browser(auth), "teacher1").status_code == 429
    assert try_login(auth, password="password123").status_code == 200


def test_forged_browser_cookie_does_not_bypass_the_limit(auth: FlaskClient, known: FlaskClient) -> None:
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)
    stranger = new_browser(auth)
    stranger.set_cookie("auth_browser", "A" * 43)

    assert try_page(stranger, address=NOWHERE).status_code == 429


def test_browser_cookie_of_another_user_does_not_bypass_the_limit(
    auth: FlaskClient, known: FlaskClient
) -> None:
    """The attacker also has an account, and a browser that is known for it."""
    attacker = new_browser(auth)
    assert try_page(attacker, "teacher1", address=NOWHERE).status_code == 303
    assert guess(new_browser(auth), PAIR_ALLOWANCE, NOWHERE) == {400}
    assert try_page(attacker, address=NOWHERE).status_code == 429, (
        "an unknown browser has the limit of its address"
    )
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE - PAIR_ALLOWANCE)

    assert try_page(attacker, address=THERE).status_code == 429


def test_guesses_in_a_known_browser_are_throttled_too(auth: FlaskClient, known: FlaskClient) -> None:
    assert guess(known, PAIR_ALLOWANCE) == {400}

    assert try_page(known).status_code == 429
    assert try_page(known, address=NOWHERE).status_code == 429, "the limit is that of the browser"
    assert try_page(new_browser(auth), address=NOWHERE).status_code == 303, "others are not throttled"


def test_stolen_browser_cookie_gives_no_extra_guesses_from_many_addresses(
    auth: FlaskClient, known: FlaskClient
) -> None:
    codes = [
        try_page(known, password="wrong", address=f"198.51.100.{n}").status_code
        for n in range(PAIR_ALLOWANCE + 3)
    ]

    assert codes == [400] * PAIR_ALLOWANCE + [429] * 3


def test_known_browser_can_sign_in_again_after_its_delay(auth: FlaskClient, known: FlaskClient) -> None:
    guess(known, PAIR_ALLOWANCE)
    let_time_pass(auth, 1)

    assert try_page(known).status_code == 303
    assert failures(auth) == 0


def test_browser_is_unknown_again_after_thirty_days(auth: FlaskClient, known: FlaskClient) -> None:
    let_time_pass(auth, KNOWN_FOR + 1)
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)

    assert try_page(known, address=NOWHERE).status_code == 429


def test_known_browsers_and_addresses_of_a_user_are_limited_in_number(auth: FlaskClient) -> None:
    user, now = find_user(auth, "student1").id, int(time.time())
    rows = [
        {"user_id": user, "address": str(n), "last_login_at": now - n - 1} for n in range(ADDRESSES_PER_USER)
    ]
    insert_rows(auth, KnownAddress, rows)
    browser = new_browser(auth)

    assert try_page(browser).status_code == 303

    known = known_addresses(auth)
    assert len(known) == ADDRESSES_PER_USER
    assert {str(ADDRESSES_PER_USER - 1), str(ADDRESSES_PER_USER - 2)}.isdisjoint(known), "the oldest are gone"
    fail_from_everywhere(auth, ACCOUNT_ALLOWANCE)
    assert try_page(browser, address=NOWHERE).status_code == 303


def test_repeated_sign_ins_add_no_rows(auth: FlaskClient) -> None:
    for _ in range(3):
        assert try_page(auth).status_code == 303

    assert len(known_addresses(auth)) == 2, "the address and the browser"


def test_browser_cookie_is_not_stored_in_the_database(auth: FlaskClient, known: FlaskClient) -> None:
    cookie = known.get_cookie("auth_browser")
    assert cookie
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        stored = session.scalars(sa.select(KnownAddress.address)).all()

    assert stored
    assert all(len(key) == 64 and cookie.value not in key for key in stored)


def test_known_addresses_of_a_deleted_user_are_deleted(auth: FlaskClient, known: FlaskClient) -> None:
    run_command(auth, "users", "delete", "student1")

    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert session.scalars(sa.select(KnownAddress.address)).all() == []


def test_password_change_is_throttled_like_a_sign_in(auth: FlaskClient) -> None:
    assert try_page(auth).status_code == 303
    form = fields_of(auth.get("/account/password"))
    passwords = {"new_password": "a better password", "repeated_password": "a better password"}

    codes = []
    for old in ["wrong"] * PAIR_ALLOWANCE + ["password123"]:
        page = auth.post("/account/password", data={**form, **passwords, "current_password": old})
        codes.append(page.status_code)

    assert codes == [400] * PAIR_ALLOWANCE + [429]
    assert page.headers["Retry-After"] == "1"
    assert try_login(auth, password="password123", address=THERE).status_code == 200
