"""Clients are notified of every session that ends, after the response; failed notices are retried."""

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.accounts.session_ends import end_session
from auth_app.models import LogoutNotice
from auth_app.oauth.backchannel_logout import DELAYS
from tests.conftest import (
    KeyPair,
    both_databases,
    change_row,
    find_user,
    log_in,
    open_auth,
    read_claims,
    run_command,
)
from tests.forger import ISSUER
from tests.receivers import Receiver, serve_receiver
from tests.servers import wait_for
from tests.sign_in import (
    Application,
    add_application,
    fields_of,
    get_code,
    get_tokens,
    new_browser,
    sign_in,
)
from tests.unit.test_known_addresses import insert_rows
from tests.unit.test_status_lists import replicate

pytestmark = both_databases

ALL = "openid offline_access courses:read"
EVENT = "http://schemas.openid.net/event/backchannel-logout"

Tokens = dict[str, Any]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("logout notice")]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serve_receiver() as served:
        yield served


@pytest.fixture
def auth(new_database: Callable[[], str], key_pair: KeyPair, receiver: Receiver) -> Iterator[FlaskClient]:
    with open_auth(new_database(), key_pair, backchannel_logout_networks="127.0.0.0/8") as client:
        yield client
        stop(client, receiver)


def stop(client: FlaskClient, receiver: Receiver) -> None:
    """Delete all notices, and wait until the threads that send them have ended."""
    receiver.released.set()
    change_row(client, sa.delete(LogoutNotice))
    wake(client)
    wait_for(lambda: threads() == [])


def wake(client: FlaskClient) -> None:
    client.application.extensions["logout_sender"].send_soon()


def add(
    client: FlaskClient, receiver: Receiver, client_id: str = "web", path: str = "/logout"
) -> Application:
    return add_application(client, client_id, "--backchannel-logout-uri", receiver.url + path)


@pytest.fixture
def web(auth: FlaskClient, receiver: Receiver) -> Application:
    return add(auth, receiver)


@pytest.fixture
def tokens(auth: FlaskClient, web: Application) -> Tokens:
    """The tokens of student1, who is signed in."""
    sign_in(auth)
    return get_tokens(auth, web, scope=ALL)


def sign_out(browser: FlaskClient) -> None:
    assert browser.post("/logout", data=fields_of(browser.get("/logout"))).status_code == 303


def notices(client: FlaskClient) -> list[LogoutNotice]:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        return list(session.scalars(sa.select(LogoutNotice).order_by(LogoutNotice.id)))


def notified_sids(receiver: Receiver, path: str = "/logout") -> set[str]:
    return {read_claims(token)["sid"] for token in receiver.tokens(path)}


def wait_until_quiet(client: FlaskClient) -> None:
    wait_for(lambda: threads() == [] and notices(client) == [])


def test_logout_token_names_the_user_and_the_session_that_ended(
    auth: FlaskClient, tokens: Tokens, receiver: Receiver, key_pair: KeyPair
) -> None:
    sign_out(auth)
    wait_for(lambda: len(receiver.forms) == 1)

    (token,) = receiver.tokens()
    assert receiver.received[0]["Content-Type"] == "application/x-www-form-urlencoded"
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "logout+jwt", "kid": key_pair.kid}
    claims = jwt.decode(token, key_pair.private_key.public_key(), ["RS256"], audience="web", issuer=ISSUER)
    login = read_claims(tokens["id_token"])
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti", "sid", "events"}, "and no nonce"
    assert (claims["sub"], claims["sid"], claims["aud"]) == (login["sub"], login["sid"], "web")
    assert claims["events"] == {EVENT: {}}
    assert claims["iat"] == pytest.approx(time.time(), abs=10)
    assert 0 < claims["exp"] - claims["iat"] <= 120
    wait_until_quiet(auth)
    assert len(receiver.forms) == 1


def test_logout_token_is_accepted_neither_as_access_token_nor_as_id_token_hint(
    auth: FlaskClient, tokens: Tokens, receiver: Receiver
) -> None:
    sign_out(auth)
    wait_for(lambda: len(receiver.forms) == 1)
    (token,) = receiver.tokens()

    assert auth.get("/userinfo", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    sign_in(auth)
    assert auth.get(f"/logout?id_token_hint={token}").status_code == 200, "the page asks for confirmation"


# Events that end a session

End = Callable[[FlaskClient, Application, Tokens], object]


def end_at_the_account(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
    """End this browser's sign-in on the account page of another browser."""
    other = new_browser(auth)
    sign_in(other)
    page = other.get("/account").text
    own, first = re.findall(r'name="sign_in" value="([^"]+)"', page)
    assert own != first
    other.post("/account/end", data={**fields_of(other.get("/account")), "sign_in": first})


def end_all_others(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
    other = new_browser(auth)
    sign_in(other)
    other.post("/account/end", data={**fields_of(other.get("/account")), "others": "1"})


def change_password(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
    """Change the password in another browser, whose own sessions continue."""
    other = new_browser(auth)
    sign_in(other)
    form = {"current_password": "password123", "new_password": "a better password"}
    form |= {**fields_of(other.get("/account/password")), "repeated_password": "a better password"}
    assert other.post("/account/password", data=form).status_code == 303


def revoke(kind: str) -> End:
    def run(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
        auth.post("/revoke", data={"token": tokens[kind]}, auth=web.credentials)

    return run


def reuse(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    second = auth.post("/token", data=form, auth=web.credentials).get_json()
    auth.post("/token", data=form | {"refresh_token": second["refresh_token"]}, auth=web.credentials)
    assert auth.post("/token", data=form, auth=web.credentials).status_code == 400


def command(*arguments: str) -> End:
    def run(auth: FlaskClient, web: Application, tokens: Tokens) -> None:
        sid = read_claims(tokens["id_token"])["sid"]
        stdin = "a better password" if "set-password" in arguments else ""
        result = run_command(auth, *(part.format(sid=sid) for part in arguments), stdin=stdin)
        assert result.exit_code == 0, result.output

    return run


ENDS: dict[str, End] = {
    "sign-out": lambda auth, *_: sign_out(auth),
    "sign-out by ID token": lambda auth, _, tokens: auth.get(f"/logout?id_token_hint={tokens['id_token']}"),
    "sign-in of another user": lambda auth, web, _: sign_in(auth, "teacher1", web.url(prompt="login")),
    "sign-in ended on the account page": end_at_the_account,
    "all other sign-ins ended": end_all_others,
    "password change": change_password,
    "revoked refresh token": revoke("refresh_token"),
    "revoked access token": revoke("access_token"),
    "reused refresh token": reuse,
    "disabled user": command("users", "disable", "student1"),
    "deleted user": command("users", "delete", "student1"),
    "password set by command": command("users", "set-password", "student1"),
    "lost role": command("users", "set-roles", "student1"),
    "sessions of the user revoked": command("sessions", "revoke", "--user", "student1"),
    "session revoked": command("sessions", "revoke", "{sid}"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_client_is_notified_whatever_ends_a_session(
    end: End, auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    end(auth, web, tokens)

    wait_until_quiet(auth)
    assert notified_sids(receiver) == {read_claims(tokens["id_token"])["sid"]}
    assert len(receiver.forms) == 1


def test_client_is_notified_when_a_reused_code_ends_its_session(
    auth: FlaskClient, web: Application, receiver: Receiver
) -> None:
    sign_in(auth)
    code = get_code(auth, web)
    answers = [web.redeem(auth, code) for _ in range(2)]

    wait_until_quiet(auth)
    assert notified_sids(receiver) == {read_claims(answers[0].get_json()["id_token"])["sid"]}


def test_each_client_is_notified_of_its_own_sessions_only(
    auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    other, silent = add(auth, receiver, "other", "/other"), add_application(auth, "silent")
    again, others = get_tokens(auth, web), get_tokens(auth, other)
    get_tokens(auth, silent)
    log_in(auth)
    teacher = new_browser(auth)
    sign_in(teacher, "teacher1")
    get_tokens(teacher, web)

    sign_out(auth)

    wait_until_quiet(auth)
    sid = {name: read_claims(one["id_token"])["sid"] for name, one in {"1": tokens, "2": again}.items()}
    assert notified_sids(receiver) == set(sid.values())
    assert notified_sids(receiver, "/other") == {read_claims(others["id_token"])["sid"]}
    assert len({read_claims(form["logout_token"])["jti"] for _, form in receiver.forms}) == 3


def test_removed_or_unsubscribed_client_is_not_notified(
    auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    receiver.status = 500
    other = add(auth, receiver, "other", "/other")
    get_tokens(auth, other)
    sign_out(auth)
    wait_for(lambda: [notice.attempts for notice in notices(auth)] == [1, 1] and len(receiver.forms) == 2)
    run_command(auth, "clients", "remove", "web")
    run_command(auth, "clients", "set", "other", "--no-backchannel-logout-uri")

    let_come_due(auth)

    wait_until_quiet(auth)
    assert len(receiver.forms) == 2


def test_refused_command_sends_no_notice(auth: FlaskClient, tokens: Tokens, receiver: Receiver) -> None:
    result = run_command(auth, "users", "set-password", "student1", stdin="short")

    assert result.exit_code == 1
    assert notices(auth) == []
    assert threads() == []


def test_rolled_back_revocation_sends_no_notice(
    auth: FlaskClient, tokens: Tokens, receiver: Receiver
) -> None:
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert end_session(uuid.UUID(read_claims(tokens["access_token"])["sid"]))
        assert session.scalars(sa.select(LogoutNotice)).all()
        session.rollback()

    assert notices(auth) == []
    assert threads() == []


# Retries


def let_come_due(client: FlaskClient) -> None:
    change_row(client, sa.update(LogoutNotice).values(due_at=time.time()))
    wake(client)


def wait_for_attempt(client: FlaskClient, receiver: Receiver, number: int) -> LogoutNotice:
    """Wait until the notice was sent for the nth time and the outcome stored, and return it."""

    def is_noted() -> bool:
        found = notices(client)
        is_postponed = bool(found) and not any("for" in name for name in threads())
        return len(receiver.forms) == number and is_postponed

    wait_for(is_noted)
    (notice,) = notices(client)
    return notice


@pytest.mark.parametrize("status", [400, 404, 500, 302, 201])
def test_notice_is_retried_until_the_client_accepts_it(
    status: int, auth: FlaskClient, tokens: Tokens, receiver: Receiver
) -> None:
    receiver.status, receiver.headers = status, {"Location": f"{receiver.url}/elsewhere"}
    sign_out(auth)
    notice = wait_for_attempt(auth, receiver, 1)
    assert notice.attempts == 1

    receiver.status = 204
    let_come_due(auth)

    wait_until_quiet(auth)
    assert [path for path, _ in receiver.forms] == ["/logout", "/logout"], "no redirect is followed"
    first, second = map(read_claims, receiver.tokens())
    assert (first["sid"], first["sub"]) == (second["sid"], second["sub"])
    assert second["exp"] > time.time()


def test_notice_is_retried_with_growing_delays_and_finally_dropped(
    auth: FlaskClient, tokens: Tokens, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 503
    sign_out(auth)
    for number, delay in enumerate(DELAYS, 1):
        notice = wait_for_attempt(auth, receiver, number)
        assert notice.due_at - time.time() == pytest.approx(delay, abs=2)
        assert notice.attempts == number
        let_come_due(auth)

    wait_until_quiet(auth)

    assert len(receiver.forms) == len(DELAYS) + 1
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["cannot notify web of a logout: it returned status 503; giving up"]


def test_failure_postpones_all_notices_for_that_client_only(
    auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    receiver.statuses = {"/logout": 500}
    other = add(auth, receiver, "other", "/other")
    for _ in range(3):
        get_tokens(auth, web)
    get_tokens(auth, other)

    sign_out(auth)

    wait_for(lambda: len(receiver.tokens("/other")) == 1 and len(receiver.tokens()) == 1)
    wait_for(lambda: not any("for" in name for name in threads()))
    assert sorted(notice.attempts for notice in notices(auth)) == [1, 1, 1, 1], "as if sent"
    assert len({notice.due_at for notice in notices(auth)}) == 1
    receiver.statuses = {}
    let_come_due(auth)
    wait_until_quiet(auth)
    assert len(notified_sids(receiver)) == 4


def test_hanging_client_delays_neither_the_request_nor_other_clients(
    auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    receiver.hanging = {"/logout"}
    others = [add(auth, receiver, f"other{number}", f"/other{number}") for number in range(3)]
    for application in (*others, web, web):
        get_tokens(auth, application)
    began = time.monotonic()

    sign_out(auth)

    assert time.monotonic() - began < 3
    paths = {"/logout", *(f"/other{number}" for number in range(3))}
    wait_for(lambda: {path for path, _ in receiver.forms} == paths, seconds=4)
    assert len(receiver.tokens()) == 1, "a client has one thread, however many notices there are"


def test_all_clients_are_notified_even_if_more_hang_than_there_are_threads(
    auth: FlaskClient, receiver: Receiver
) -> None:
    sign_in(auth)
    for number in range(10):
        receiver.hanging.add(f"/{number}")
        get_tokens(auth, add(auth, receiver, f"client{number}", f"/{number}"))

    sign_out(auth)
    wait_for(lambda: len(receiver.forms) == 8)
    assert len(threads()) == 9
    receiver.hanging.clear()
    receiver.released.set()

    wait_until_quiet(auth)
    assert {path for path, _ in receiver.forms} == {f"/{number}" for number in range(10)}


def test_disallowed_address_receives_no_notice(
    new_database: Callable[[], str], key_pair: KeyPair, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with open_auth(new_database(), key_pair) as auth:
        web = add(auth, receiver)
        sign_in(auth)
        get_tokens(auth, web)
        sign_out(auth)
        wait_for(lambda: "BACKCHANNEL_LOGOUT_NETWORKS" in caplog.text)

        assert len(notices(auth)) == 1
        assert receiver.forms == []
        stop(auth, receiver)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/", "http://app.invalid/"])
def test_unreachable_client_does_not_delay_others(
    uri: str, auth: FlaskClient, web: Application, tokens: Tokens, receiver: Receiver
) -> None:
    broken = add_application(auth, "broken", "--backchannel-logout-uri", uri)
    get_tokens(auth, broken)

    sign_out(auth)

    wait_for(lambda: len(receiver.tokens()) == 1)
    wait_for(lambda: [notice.client_id for notice in notices(auth)] == ["broken"])


# Notices that a process leaves behind


def test_leftover_notice_is_sent_when_a_status_list_is_fetched(
    auth: FlaskClient, web: Application, receiver: Receiver
) -> None:
    """Any process on the same database sends it, since the process that created it may be gone."""
    user = find_user(auth, "student1").id
    left = {"session_id": user, "user_id": user, "client_id": "web", "attempts": 0, "due_at": time.time()}
    insert_rows(auth, LogoutNotice, [left])
    assert threads() == []

    auth.get("/.well-known/status-list/1")

    wait_until_quiet(auth)
    assert notified_sids(receiver) == {str(user)}


def test_two_workers_send_each_notice_once(auth: FlaskClient, receiver: Receiver) -> None:
    for number in range(5):
        add(auth, receiver, f"client{number}", f"/{number}")
    user = find_user(auth, "student1").id
    rows = [
        {"session_id": user, "user_id": user, "client_id": f"client{n % 5}", "attempts": 0, "due_at": 0.0}
        for n in range(20)
    ]
    with replicate(auth) as other:
        insert_rows(auth, LogoutNotice, rows)
        wake(auth)
        wake(other)
        wait_for(lambda: notices(auth) == [])
        for worker in (auth, other):  # each may wait for the end of what the other has claimed
            wake(worker)
        wait_until_quiet(auth)

    assert len(receiver.forms) == 20


def test_notice_stores_no_secrets(auth: FlaskClient, tokens: Tokens, receiver: Receiver) -> None:
    receiver.status = 500
    sign_out(auth)
    notice = wait_for_attempt(auth, receiver, 1)

    assert vars(notice).keys() - {"_sa_instance_state"} == {
        "id", "session_id", "user_id", "client_id", "attempts", "due_at",
    }  # fmt: skip
