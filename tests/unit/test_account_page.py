"""Users manage their own account in a browser (`/account`)."""

import uuid

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from auth_app.models import BrowserSession
from tests.conftest import PASSWORDS, both_databases, change_row, find_user, log_in, read_claims
from tests.sign_in import (
    Application,
    add_application,
    answer_of,
    fields_of,
    get_tokens,
    new_browser,
    sign_in,
    submit_sign_in,
)
from tests.unit.test_meanwhile import before_first_write

pytestmark = both_databases


@pytest.fixture
def web(auth: FlaskClient) -> Application:
    return add_application(auth, "web", "--name", "Web shop")


def change_password(browser: FlaskClient, **changes: str) -> tuple[int, str]:
    new = {"new_password": "a better password", "repeated_password": "a better password"}
    form = fields_of(browser.get("/account/password")) | {"current_password": PASSWORDS["student1"]} | new
    response = browser.post("/account/password", data=form | changes)
    return response.status_code, response.text


def is_signed_in(browser: FlaskClient) -> bool:
    return "Signed in as" in browser.get("/account").text


def works(browser: FlaskClient, access_token: str) -> bool:
    headers = {"Authorization": f"Bearer {access_token}"}
    return browser.get("/userinfo", headers=headers).status_code == 200


def test_account_page_shows_who_is_signed_in_and_where(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    get_tokens(auth, web)
    other = new_browser(auth)
    sign_in(other)
    log_in(auth)

    page = auth.get("/account").text

    assert "Signed in as student1" in page
    assert "Web shop" in page
    assert page.count("This browser") == 1
    assert page.count("Another browser") == 1
    assert "First-party applications" in page
    assert page.count("127.0.0.x") == 3


REFUSED = {
    "wrong password": ({"current_password": "wrong"}, "The current password is incorrect."),
    "too short": ({"new_password": "short", "repeated_password": "short"}, "at least 8 characters"),
    "too long": ({"new_password": "x" * 129, "repeated_password": "x" * 129}, "at most 128 characters"),
    "common": ({"new_password": "password1", "repeated_password": "password1"}, "too common"),
    "user name": ({"new_password": "student1", "repeated_password": "student1"}, "not be your user name"),
    "current password": (
        {"new_password": "password123", "repeated_password": "password123"},
        "different from the current one",
    ),
    "repeated differently": ({"repeated_password": "another password"}, "do not match"),
    "wrong form token": ({"form_token": "0" * 64}, "This page has expired"),
    "no form token": ({"form_token": ""}, "This page has expired"),
}


@pytest.mark.parametrize(("changes", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_password_change_is_refused(changes: dict[str, str], text: str, auth: FlaskClient) -> None:
    sign_in(auth)
    before = find_user(auth, "student1").password_hash

    status, page = change_password(auth, **changes)

    assert status == 400
    assert text in page
    assert find_user(auth, "student1").password_hash == before


def test_password_change_ends_all_other_sign_ins(auth: FlaskClient, web: Application) -> None:
    other = new_browser(auth)
    sign_in(other)
    tokens = get_tokens(other, web)
    sign_in(auth)

    status, _ = change_password(auth)

    assert status == 303
    assert (is_signed_in(auth), is_signed_in(other)) == (True, False)
    assert not works(auth, tokens["access_token"])
    assert submit_sign_in(other, other.get("/login"), "student1", "password123").status_code == 400


def test_user_can_end_all_other_sign_ins(auth: FlaskClient, web: Application) -> None:
    other = new_browser(auth)
    sign_in(other)
    tokens = get_tokens(other, web)
    sign_in(auth)

    auth.post("/account/end", data=fields_of(auth.get("/account")) | {"others": "1"})

    assert (is_signed_in(auth), is_signed_in(other)) == (True, False)
    assert not works(auth, tokens["access_token"])


def keys_of(browser: FlaskClient) -> dict[str, uuid.UUID]:
    with browser.application.app_context():
        session = browser.application.extensions["sqlalchemy"].session
        return {row.user.username: row.id for row in session.scalars(sa.select(BrowserSession))}


def end(browser: FlaskClient, key: str) -> None:
    form = {"form_token": fields_of(browser.get("/account"))["form_token"], "sign_in": key}
    assert browser.post("/account/end", data=form).status_code == 303


def test_ending_one_sign_in_also_revokes_its_tokens(auth: FlaskClient, web: Application) -> None:
    other = new_browser(auth)
    sign_in(other)
    tokens = get_tokens(other, web)
    key = keys_of(auth)["student1"]
    sign_in(auth)

    end(auth, f"browser:{key}")

    assert (is_signed_in(auth), is_signed_in(other)) == (True, False)
    assert not works(auth, tokens["access_token"])


def test_user_cannot_end_another_users_sign_in(auth: FlaskClient, web: Application) -> None:
    other = new_browser(auth)
    sign_in(other, "teacher1")
    tokens = get_tokens(other, web)
    sign_in(auth)

    for key in (
        f"browser:{keys_of(auth)['teacher1']}",
        f"login:{read_claims(tokens['access_token'])['sid']}",
    ):
        end(auth, key)

    assert is_signed_in(other)
    assert works(auth, tokens["access_token"])


@pytest.mark.parametrize("key", ["", "browser", "browser:x", "other:4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"])
def test_invalid_sign_in_key_ends_nothing(key: str, auth: FlaskClient) -> None:
    sign_in(auth)

    end(auth, key)

    assert is_signed_in(auth)


def test_error_page_needs_no_database(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the disk is on fire"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    try:
        for path in (web.url(), "/login", "/account", "/logout"):
            response = auth.get(path)
            assert (response.status_code, response.mimetype) == (503, "text/html"), path
            assert response.headers["Retry-After"] == "1"
    finally:
        sa.event.remove(engine, "before_cursor_execute", fail)


def test_sign_in_succeeds_although_the_browser_was_signed_out_meanwhile(
    auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    page = auth.get(web.url(prompt="login"))

    def sign_out() -> None:
        change_row(auth, sa.delete(BrowserSession))

    with before_first_write(auth, sign_out) as acted:
        response = submit_sign_in(auth, page, "student1", "password123")

    assert acted
    assert "code" in answer_of(auth.get(response.location))
