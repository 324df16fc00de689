"""Ending the sessions of an account is fast and immediate, however many there are."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from pydantic import SecretStr

from auth_app import create_app
from auth_app.models import RevocationJob, Session, StatusList
from flask_resource_server.tokens.keys import read_key_file
from flask_resource_server.tokens.public_keys import FixedKeys
from flask_resource_server.tokens.status_list import parse_status_list
from tests.conftest import (
    KeyPair,
    bearer,
    both_databases,
    change_row,
    change_user,
    find_user,
    log_in,
    open_auth,
    read_claims,
    run_command,
)
from tests.forger import ISSUER
from tests.sessions import insert_sessions

VERY_MANY, MANY = 200_000, 10_000
GOOD_PASSWORD = "correct horse battery"


@pytest.fixture
def crowded(count: int, new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    """An authorization server where one user has `count` sessions."""
    with open_auth(new_database(), key_pair, sessions_per_user=10**6) as client:
        log_in(client, "teacher1")  # starts the list
        change_row(client, sa.update(StatusList).values(closes_at=1))  # later logins use another list
        with client.application.app_context():
            engine = client.application.extensions["sqlalchemy"].engine
        with engine.begin() as connection:
            connection.execute(sa.update(Session).values(status_index=count))
        insert_sessions(engine, "student1", range(count))
        yield client


def unset_bits(client: FlaskClient, key_pair: KeyPair, count: int) -> int:
    """Return how many of the first list's indexes are not marked as revoked."""
    keys = read_key_file(key_pair.public_file)
    uri = f"{ISSUER}/.well-known/status-list/1"
    text = client.get("/.well-known/status-list/1").text
    found = parse_status_list(text, uri, FixedKeys(keys))
    return sum(found[index] == 0 for index in range(count))


def count_jobs(client: FlaskClient) -> int:
    with client.application.app_context():
        session = client.application.extensions["sqlalchemy"].session
        count: int = session.scalar(sa.select(sa.func.count(RevocationJob.id)))
        return count


def disable(client: FlaskClient, _: str) -> int:
    headers = bearer(log_in(client, "admin1")["access_token"])
    return change_user(client, "student1", headers, is_disabled=True).status_code


def delete(client: FlaskClient, _: str) -> int:
    return change_user(
        client, "student1", bearer(log_in(client, "admin1")["access_token"]), "DELETE"
    ).status_code


def change_password(client: FlaskClient, token: str) -> int:
    body = {"current_password": "password123", "new_password": GOOD_PASSWORD}
    return client.put("/users/me/password", json=body, headers=bearer(token)).status_code


def command(*arguments: str) -> Callable[[FlaskClient, str], int]:
    return lambda client, _: run_command(client, *arguments, stdin=GOOD_PASSWORD).exit_code


# How a user's sessions are ended, the status, and the number of sessions. One write ends any number of them,
# so the slow case is tested only twice: for a request, and for the command that ends everyone's sessions.
ENDS: dict[str, tuple[Callable[[FlaskClient, str], int], int, int]] = {
    "PATCH is_disabled": (disable, 200, VERY_MANY),
    "DELETE": (delete, 204, MANY),
    "own password changed": (change_password, 204, MANY),
    "users set-password": (command("users", "set-password", "student1"), 0, MANY),
    "users disable": (command("users", "disable", "student1"), 0, MANY),
    "sessions revoke --user": (command("sessions", "revoke", "--user", "student1"), 0, MANY),
    "sessions revoke --all": (command("sessions", "revoke", "--all"), 0, VERY_MANY),
}


@both_databases
@pytest.mark.parametrize(("end", "status", "count"), ENDS.values(), ids=ENDS)
def test_many_sessions_end_immediately_and_their_status_bits_follow(
    end: Callable[[FlaskClient, str], int],
    status: int,
    count: int,
    crowded: FlaskClient,
    key_pair: KeyPair,
) -> None:
    victim, own = log_in(crowded), log_in(crowded)
    kept = end is change_password
    started = time.monotonic()

    assert end(crowded, own["access_token"]) == status

    if end in {disable, delete, change_password}:  # a command sets all bits before it exits
        assert time.monotonic() - started < 10
    for answer, is_kept in ((victim, False), (own, kept)):
        form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        expected = (200, 200) if is_kept else (401, 400)
        seen = crowded.get("/users/me", headers=bearer(answer["access_token"])).status_code
        assert (seen, crowded.post("/token", data=form).status_code) == expected
    while count_jobs(crowded):
        crowded.get("/.well-known/status-list")
    assert unset_bits(crowded, key_pair, count) == 0


@both_databases
def test_password_change_does_not_revive_a_session_that_has_ended(auth: FlaskClient) -> None:
    """An administrator ended it while the password was being verified."""
    from auth_app.accounts.session_ends import end_user_sessions
    from auth_app.accounts.sessions import find_live_session
    from flask_resource_server import InvalidToken

    answer = log_in(auth)
    with auth.application.app_context():
        session = find_live_session(read_claims(answer["access_token"])["sid"])
        assert session
        assert session.user
        run_command(auth, "sessions", "revoke", "--user", "student1")

        with pytest.raises(InvalidToken):
            end_user_sessions(session.user, keep=session)


@both_databases
def test_oldest_session_ends_when_there_are_too_many(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, sessions_per_user=3) as auth:
        answers = []
        for number in range(5):
            answers.append(log_in(auth))
            age(auth, answers[-1], 100 - number)
        other = log_in(auth, "teacher1")

        live = [auth.get("/users/me", headers=bearer(answer["access_token"])) for answer in answers]
        assert [response.status_code for response in live] == [401, 401, 200, 200, 200]
        assert auth.get("/users/me", headers=bearer(other["access_token"])).status_code == 200


@both_databases
def test_ended_sessions_do_not_count_towards_the_session_limit(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    """Not even before their status bits are set."""
    with open_auth(new_database(), key_pair, sessions_per_user=3) as auth:
        own = log_in(auth)
        age(auth, own, 1000)
        with auth.application.app_context():
            session = auth.application.extensions["sqlalchemy"].session
            for _ in range(2):
                log_in(auth)
            session.execute(sa.update(Session).values(generation=-1).where(Session.id != sid(own)))
            session.commit()

        log_in(auth)

        assert auth.get("/users/me", headers=bearer(own["access_token"])).status_code == 200


def sid(answer: dict[str, Any]) -> uuid.UUID:
    return uuid.UUID(read_claims(answer["access_token"])["sid"])


def age(client: FlaskClient, answer: dict[str, Any], seconds: int) -> None:
    older = sa.update(Session).where(Session.id == sid(answer))
    change_row(client, older.values(created_at=Session.created_at - seconds))


@both_databases
def test_revoking_all_sessions_includes_those_in_a_new_status_list(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair) as auth:
        first = log_in(auth)
        change_row(auth, sa.update(StatusList).values(closes_at=1))
        second = log_in(auth)

        run_command(auth, "sessions", "revoke", "--all")

        for answer in (first, second):
            assert auth.get("/users/me", headers=bearer(answer["access_token"])).status_code == 401
        assert log_in(auth)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_command_waits_for_a_slow_database_but_a_request_times_out(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    url = new_database()
    with open_auth(url, key_pair) as auth:
        headers = bearer(log_in(auth, "admin1")["access_token"])
        with auth.application.app_context():
            engine = auth.application.extensions["sqlalchemy"].engine
        with engine.begin() as connection:
            connection.execute(
                sa.text(
                    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
                    "'BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END'"
                )
            )
            connection.execute(
                sa.text("CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION wait()")
            )
        hasty = sa.make_url(url).update_query_dict({"options": "-c statement_timeout=300ms"})
        app = create_app(
            auth.application.extensions["settings"].model_copy(
                update={"auth_database_url": SecretStr(hasty.render_as_string(hide_password=False))}
            )
        )
        path = f"/users/{find_user(auth, 'student1').id}"
        change = {"json": {"is_disabled": True}, "headers": headers | {"If-Match": "*"}}
        assert app.test_client().patch(path, **change).status_code == 503

        assert app.test_cli_runner().invoke(args=["users", "disable", "student1"]).exit_code == 0

        assert find_user(auth, "student1").is_disabled
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()
