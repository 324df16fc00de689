"""When a sign-in and whatever ends it run at the same time, the end wins."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import BrowserSession, Session, StatusList
from tests.conftest import PASSWORDS, bearer, both_databases, change_row, log_in, run_command
from tests.sign_in import (
    Application,
    add_application,
    answer_of,
    fields_of,
    get_code,
    get_tokens,
    new_browser,
    sign_in,
    submit_sign_in,
)
from tests.unit.test_meanwhile import before_first_write

pytestmark = both_databases

ALL = "openid offline_access courses:read"
NEW_PASSWORD = "a better password"

Request = Callable[[], TestResponse]


@pytest.fixture
def web(auth: FlaskClient) -> Application:
    return add_application(auth)


def send_together(requests: list[Request]) -> list[TestResponse]:
    barrier = Barrier(len(requests))

    def send(request: Request) -> TestResponse:
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def live_sessions(client: FlaskClient) -> int:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        live = sa.select(sa.func.count()).select_from(Session).where(Session.revoked_at.is_(None))
        count: int = session.scalar(live)
        return count


@contextmanager
def before_statement(client: FlaskClient, beginning: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Call a function just before the next statement that begins with a text."""
    with client.application.app_context():
        engine = client.application.extensions["sqlalchemy"].engine
    acted: list[str] = []

    def intervene(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not acted and statement.startswith(beginning):
            acted.append(statement)
            with ThreadPoolExecutor(1) as pool:  # a request within a request would share its transaction
                pool.submit(act).result()

    sa.event.listen(engine, "before_cursor_execute", intervene)
    yield acted
    sa.event.remove(engine, "before_cursor_execute", intervene)


def works(client: FlaskClient, tokens: dict[str, Any]) -> bool:
    return client.get("/userinfo", headers=bearer(tokens["access_token"])).status_code == 200


def refresh(client: FlaskClient, web: Application, tokens: dict[str, Any]) -> TestResponse:
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    return new_browser(client).post("/token", data=form, auth=web.credentials)


def change_password(browser: FlaskClient) -> Request:
    form = {"current_password": "password123", "new_password": NEW_PASSWORD}
    form |= {"repeated_password": NEW_PASSWORD, **fields_of(browser.get("/account/password"))}
    return lambda: browser.post("/account/password", data=form)


def log_out(browser: FlaskClient) -> Request:
    form = fields_of(browser.get("/logout"))
    return lambda: browser.post("/logout", data=form)


def test_one_of_eight_concurrent_uses_of_a_code_succeeds_and_is_then_revoked(
    auth: FlaskClient, web: Application
) -> None:
    """All know the code verifier, so at least one of them may be an attacker."""
    sign_in(auth)
    for _ in range(3):
        code = get_code(auth, web, scope=ALL)

        answers = send_together([partial(web.redeem, new_browser(auth), code) for _ in range(8)])

        assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 7}
        (tokens,) = [answer.get_json() for answer in answers if answer.status_code == 200]
        assert not works(auth, tokens)
        assert refresh(auth, web, tokens).status_code == 400
        assert live_sessions(auth) == 0


def test_concurrent_uses_of_different_codes_all_succeed(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    codes = [get_code(auth, web) for _ in range(6)]

    answers = send_together([partial(web.redeem, new_browser(auth), code) for code in codes])

    assert {answer.status_code for answer in answers} == {200}
    assert live_sessions(auth) == 6


def test_concurrent_sign_out_and_code_exchange_leave_no_session(auth: FlaskClient, web: Application) -> None:
    for _ in range(5):
        browser = new_browser(auth)
        sign_in(browser)
        code = get_code(browser, web, scope=ALL)

        signed_out, redeemed = send_together([log_out(browser), partial(web.redeem, new_browser(auth), code)])

        assert signed_out.status_code == 303
        assert redeemed.status_code in {200, 400}
        assert redeemed.status_code == 400 or not works(auth, redeemed.get_json())
        assert live_sessions(auth) == 0


def test_code_is_refused_if_the_browser_signs_out_during_the_exchange(
    auth: FlaskClient, web: Application
) -> None:
    """The sign-out happens between two statements of the request, which chance would hardly hit."""
    sign_in(auth)
    code = get_code(auth, web)

    with before_statement(auth, "UPDATE authorization_codes", log_out(auth)) as acted:
        response = web.redeem(auth, code)

    assert acted
    assert response.status_code == 400
    assert live_sessions(auth) == 0


ENDS = {
    "disabled": ("users", "disable", "student1"),
    "deleted": ("users", "delete", "student1"),
    "sessions revoked": ("sessions", "revoke", "--user", "student1"),
    "client removed": ("clients", "remove", "web"),
}


@pytest.mark.parametrize("command", ENDS.values(), ids=ENDS)
def test_code_is_refused_if_access_is_withdrawn_during_the_exchange(
    command: tuple[str, ...], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    code = get_code(auth, web)

    with before_statement(auth, "UPDATE authorization_codes", lambda: run_command(auth, *command)) as acted:
        response = web.redeem(auth, code)

    assert acted
    assert response.status_code in {400, 401}
    assert live_sessions(auth) == 0


@pytest.mark.parametrize("command", list(ENDS.values())[:3], ids=list(ENDS)[:3])
def test_no_usable_code_is_issued_if_access_is_withdrawn_meanwhile(
    command: tuple[str, ...], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    with before_statement(
        auth, "DELETE FROM authorization_codes", lambda: run_command(auth, *command)
    ) as acted:
        code = answer_of(auth.get(web.url())).get("code", "")
    assert acted

    assert web.redeem(auth, code or "x" * 43).status_code == 400
    assert live_sessions(auth) == 0


@pytest.mark.parametrize("command", list(ENDS.values())[:2], ids=list(ENDS)[:2])
def test_user_disabled_or_deleted_while_signing_in_is_not_signed_in(
    command: tuple[str, ...], auth: FlaskClient
) -> None:
    form = {**fields_of(auth.get("/login")), "username": "student1", "password": "password123"}

    with before_first_write(auth, lambda: run_command(auth, *command)) as acted:
        page = auth.post("/login", data=form)

    assert acted
    assert page.status_code == 400
    assert "Incorrect user name or password." in page.text
    assert auth.get("/login").status_code == 200


def test_concurrent_password_change_and_authorization_leave_no_old_session(
    auth: FlaskClient, web: Application
) -> None:
    """A thief with another browser session of the user can no longer use it."""
    sign_in(auth)
    thief = new_browser(auth)
    sign_in(thief)

    changed, stolen = send_together([change_password(auth), lambda: thief.get(web.url(scope=ALL))])

    assert changed.status_code == 303
    assert stolen.status_code in {200, 303}
    if stolen.status_code == 303:
        assert web.redeem(thief, answer_of(stolen)["code"]).status_code == 400
    assert thief.get("/login").status_code == 200
    assert live_sessions(auth) == 0
    assert "code" in answer_of(auth.get(web.url()))


def test_one_of_two_concurrent_password_changes_succeeds(auth: FlaskClient, web: Application) -> None:
    browsers = [new_browser(auth) for _ in range(2)]
    for browser in browsers:
        sign_in(browser)

    answers = send_together([change_password(browser) for browser in browsers])

    signed_in = [browser.get("/login").status_code == 303 for browser in browsers]
    assert sorted(signed_in) == [False, True]
    assert answers[signed_in.index(True)].status_code == 303
    assert answers[signed_in.index(False)].status_code == 200, "the sign-in page"


def test_password_change_that_is_throttled_after_losing_a_race_is_refused(auth: FlaskClient) -> None:
    other, tab = new_browser(auth), new_browser(auth)
    for browser in (auth, other):
        sign_in(browser)
    for name in ("auth_session", "auth_browser"):
        cookie = auth.get_cookie(name)
        assert cookie
        tab.set_cookie(name, cookie.value)
    lose, win = change_password(auth), change_password(other)
    guess = fields_of(auth.get("/account/password")) | {"current_password": "a wrong password"}
    guess |= {"new_password": NEW_PASSWORD, "repeated_password": NEW_PASSWORD}

    def interfere() -> None:
        for _ in range(6):
            tab.post("/account/password", data=guess)
        assert win().status_code == 303

    with before_statement(auth, "UPDATE users SET password_hash", interfere) as acted:
        page = lose()

    assert acted
    assert page.status_code in {200, 400, 429}


def test_sign_in_page_works_after_the_session_ended_during_an_authorization(
    auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    unused = sa.update(BrowserSession).values(last_used_at=BrowserSession.last_used_at - 100)
    change_row(auth, unused)  # so that the next use is recorded
    command = ("sessions", "revoke", "--user", "student1")

    with before_statement(auth, "UPDATE browser_sessions", lambda: run_command(auth, *command)) as acted:
        page = auth.get(web.url())

    assert acted
    assert page.status_code == 200
    assert submit_sign_in(auth, page, "student1", "password123").status_code == 303


def test_session_ended_on_the_account_page_stays_ended_despite_a_refresh(
    auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    for _ in range(5):
        phone = new_browser(auth)
        sign_in(phone)
        tokens = get_tokens(phone, web, scope=ALL)
        form = {**fields_of(auth.get("/account/password")), "others": "1"}

        ended, refreshed = send_together(
            [
                partial(auth.post, "/account/end", data=form),
                partial(refresh, auth, web, tokens),
            ]
        )

        assert ended.status_code == 303
        assert refreshed.status_code in {200, 400}
        newest = refreshed.get_json() if refreshed.status_code == 200 else tokens
        assert not works(auth, newest)
        assert refresh(auth, web, newest).status_code == 400
        assert live_sessions(auth) == 0


def test_concurrent_sign_ins_in_one_browser_leave_it_signed_in(auth: FlaskClient) -> None:
    forms = [{**fields_of(auth.get("/login")), "username": "student1", "password": "password123"}] * 4

    answers = send_together([partial(auth.post, "/login", data=form) for form in forms])

    assert {answer.status_code for answer in answers} <= {303, 400, 503}
    assert auth.get("/login").status_code == 303


# A login deletes status lists that have been closed for an hour and are empty.


def leave_an_old_empty_list(client: FlaskClient) -> None:
    log_in(client)
    change_row(client, sa.delete(Session))
    change_row(client, sa.update(StatusList).values(closes_at=6, changed_at=5))


def test_status_list_deleted_while_it_is_fetched_is_not_found(auth: FlaskClient) -> None:
    leave_an_old_empty_list(auth)

    with before_statement(auth, "UPDATE status_lists", lambda: log_in(auth, "teacher1")) as acted:
        response = auth.get("/.well-known/status-list/1")

    assert acted
    assert response.status_code == 404


def test_all_sessions_end_even_if_a_login_deletes_a_list_at_the_same_time(auth: FlaskClient) -> None:
    leave_an_old_empty_list(auth)
    form = {"username": "teacher1", "password": PASSWORDS["teacher1"]}
    logins = []

    def log_in_elsewhere() -> None:
        logins.append(new_browser(auth).post("/token", data=form).status_code)

    with before_statement(auth, "UPDATE status_lists", log_in_elsewhere):
        result = run_command(auth, "sessions", "revoke", "--all")

    assert result.exit_code == 0, result.output
    assert logins[0] in {200, 503}, "SQLite has one writer"
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert set(session.scalars(sa.select(StatusList.is_revoked))) == {True}
