"""auth_app assigns each session an index in a Token Status List, and publishes which were revoked."""

import gzip
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

import auth_app
from auth_app.accounts.status_indexes import reserve_index
from auth_app.models import Session, StatusList
from flask_resource_server.tokens.keys import read_key_file
from flask_resource_server.tokens.public_keys import FixedKeys
from flask_resource_server.tokens.status_list import parse_status_list, read_reference
from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    both_databases,
    change_row,
    change_user,
    find_user,
    log_in,
    make_key_pair,
    open_auth,
    read_claims,
    run_command,
)
from tests.forger import ISSUER
from tests.refresh_tokens import let_grace_pass
from tests.servers import wait_for

LISTS = f"{ISSUER}/.well-known/status-list"


def fetch(client: FlaskClient, uri: str = f"{LISTS}/1") -> str:
    response = client.get(uri.removeprefix(ISSUER))
    assert response.status_code == 200
    assert response.mimetype == "application/statuslist+jwt"
    return response.text


def status_of(client: FlaskClient, key_pair: KeyPair, answer: dict[str, Any]) -> int:
    """Return the status that the published list has for an access token."""
    keys = read_key_file(key_pair.public_file)
    uri, index = read_reference(read_claims(answer["access_token"]))
    return parse_status_list(fetch(client, uri), uri, FixedKeys(keys))[index]


def refresh(client: FlaskClient, answer: dict[str, Any]) -> dict[str, Any]:
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    renewed: dict[str, Any] = client.post("/token", data=form).get_json()
    return renewed


def reuse(client: FlaskClient, answer: dict[str, Any]) -> None:
    refresh(client, answer)
    let_grace_pass(client)
    assert refresh(client, answer)["error"] == "invalid_grant"


def change_password(client: FlaskClient, _answer: dict[str, Any]) -> None:
    body = {"current_password": "password123", "new_password": "a better password"}
    other = log_in(client)["access_token"]
    assert client.put("/users/me/password", json=body, headers=bearer(other)).status_code == 204


def disable(client: FlaskClient, _answer: dict[str, Any]) -> None:
    admin = bearer(log_in(client, "admin1")["access_token"])
    assert change_user(client, "student1", admin, is_disabled=True).status_code == 200


# What ends a session.
ENDS: dict[str, Callable[[FlaskClient, dict[str, Any]], object]] = {
    "access token revoked": lambda auth, answer: auth.post("/revoke", data={"token": answer["access_token"]}),
    "refresh token revoked": lambda auth, answer: auth.post(
        "/revoke", data={"token": answer["refresh_token"]}
    ),
    "refresh token reused": reuse,
    "password changed": change_password,
    "user disabled": disable,
    "command for a session": lambda auth, answer: run_command(
        auth, "sessions", "revoke", read_claims(answer["access_token"])["sid"]
    ),
    "command for a user's password": lambda auth, _: run_command(
        auth, "users", "set-password", "student1", stdin="a better password\n"
    ),
}


@both_databases
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_only_the_ended_session_has_its_status_bit_set(
    end: Callable[[FlaskClient, dict[str, Any]], object], auth: FlaskClient, key_pair: KeyPair
) -> None:
    answer, other = log_in(auth), log_in(auth, "teacher1")
    assert status_of(auth, key_pair, answer) == 0

    end(auth, answer)

    assert status_of(auth, key_pair, answer) == 1
    assert status_of(auth, key_pair, other) == 0


@both_databases
def test_removing_a_client_revokes_its_sessions(auth: FlaskClient, key_pair: KeyPair) -> None:
    credentials = add_client(auth, "website", "--scope", "courses:read")
    form = {"username": "student1", "password": "password123"}
    answer = auth.post("/token", data=form, auth=credentials).get_json()

    run_command(auth, "clients", "remove", "website")

    assert status_of(auth, key_pair, answer) == 1


def test_all_tokens_of_a_session_have_the_same_status_index(auth: FlaskClient) -> None:
    answer, other = log_in(auth), log_in(auth)

    places = [read_reference(read_claims(one["access_token"])) for one in (answer, refresh(auth, answer))]

    assert places[0] == places[1] != read_reference(read_claims(other["access_token"]))
    assert places[0][0] == f"{LISTS}/1"


def test_client_credentials_tokens_share_an_index_until_one_is_revoked(auth: FlaskClient) -> None:
    credentials = add_client(auth)

    def get_token() -> str:
        answer = auth.post("/token", data={"grant_type": "client_credentials"}, auth=credentials).get_json()
        return str(answer["access_token"])

    first, second = get_token(), get_token()
    assert read_reference(read_claims(first)) == read_reference(read_claims(second))
    auth.post("/revoke", data={"token": first}, auth=credentials)

    assert read_reference(read_claims(get_token())) != read_reference(read_claims(first))


def test_token_does_not_outlive_its_session(auth: FlaskClient) -> None:
    answer = log_in(auth)
    change_row(auth, sa.update(Session).values(expires_at=int(time.time()) + 100))

    renewed = refresh(auth, answer)

    claims = read_claims(renewed["access_token"])
    assert claims["exp"] - claims["iat"] == renewed["expires_in"] <= 100


def add_sessions(client: FlaskClient, count: int) -> list[tuple[int, int]]:
    """Insert sessions without logging in, and return their lists and indexes."""
    places = []
    user = find_user(client, "student1").id
    with client.application.app_context():
        db = client.application.extensions["sqlalchemy"]
        for _ in range(count):
            now = int(time.time())
            places.append(reserve_index(now))
            list_id, index = places[-1]
            db.session.add(
                Session(
                    user_id=user,
                    client_id="first-party",
                    scope="",
                    resources=[],
                    family_hash=uuid.uuid4().hex,
                    refresh_token_hash="",
                    created_at=now,
                    expires_at=now + 1000,
                    status_list_id=list_id,
                    status_index=index,
                )
            )
            db.session.flush()
        db.session.commit()
    return places


@both_databases
def test_indexes_are_unique_and_a_new_list_starts_when_one_fills_up(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, status_list_size=1024) as auth:
        places = add_sessions(auth, 1200)

        assert len(set(places)) == 1200
        first_list, second_list = sorted({list_id for list_id, _ in places})
        assert all(0 <= index < 1024 for _, index in places)
        first = [index for list_id, index in places if list_id == first_list]
        assert first != sorted(first), "indexes are chosen at random"
        assert len(first) > 512, "a list fills up before the next one starts"
        assert auth.get(LISTS.removeprefix(ISSUER)).json == {
            "status_lists": [f"{LISTS}/{first_list}", f"{LISTS}/{second_list}"]
        }


@both_databases
def test_closed_list_gets_no_new_sessions_and_is_removed_once_empty(auth: FlaskClient) -> None:
    answer = log_in(auth)
    change_row(auth, sa.update(StatusList).values(closes_at=int(time.time()) - 4000))
    assert read_reference(read_claims(log_in(auth)["access_token"]))[0] != f"{LISTS}/1"
    assert fetch(auth), "a session still uses it"

    change_row(
        auth, sa.delete(Session).where(Session.id == uuid.UUID(read_claims(answer["access_token"])["sid"]))
    )
    change_row(auth, sa.update(StatusList).values(closes_at=int(time.time()) - 4000))
    log_in(auth)

    left = auth.get("/.well-known/status-list").get_json()["status_lists"]
    assert len(left) == 2
    assert f"{LISTS}/1" not in left
    assert auth.get("/.well-known/status-list/1").status_code == 404


def test_unchanged_list_is_not_sent_again(auth: FlaskClient) -> None:
    answer = log_in(auth)
    first = auth.get("/.well-known/status-list/1")
    same = auth.get("/.well-known/status-list/1", headers={"If-None-Match": first.headers["ETag"]})

    auth.post("/revoke", data={"token": answer["access_token"]})
    changed = auth.get("/.well-known/status-list/1", headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["Cache-Control"] == "public, max-age=30"
    assert (same.status_code, same.data) == (304, b"")
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_list_is_compressed_for_clients_that_accept_gzip(auth: FlaskClient) -> None:
    log_in(auth)
    plain = fetch(auth)

    packed = auth.get("/.well-known/status-list/1", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data).decode() == plain
    assert "Accept-Encoding" in packed.headers["Vary"]


@contextmanager
def replicate(client: FlaskClient) -> Iterator[FlaskClient]:
    """Yield a client of another application over the same database and keys."""
    app = auth_app.create_app(client.application.extensions["settings"])
    yield app.test_client()
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@both_databases
def test_replicas_serve_the_same_bytes(new_database: Callable[[], str], key_pair: KeyPair) -> None:
    with open_auth(new_database(), key_pair) as one, replicate(one) as other:
        answer = log_in(one)
        assert fetch(one) == fetch(other)

        other.post("/revoke", data={"token": answer["refresh_token"]})

        assert fetch(one) == fetch(other)
        assert status_of(one, key_pair, answer) == 1


def test_list_states_its_expiry_and_is_reissued_in_time(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, status_list_ttl=1, status_list_lifetime=2) as auth:
        log_in(auth)
        claims = read_claims(fetch(auth))
        wait_for(lambda: read_claims(fetch(auth)) != claims)

        assert claims.keys() == {"sub", "iat", "exp", "ttl", "status_list"}
        assert (claims["sub"], claims["ttl"]) == (f"{LISTS}/1", 1)
        assert 1 <= claims["exp"] - claims["iat"] <= 2
        renewed = read_claims(fetch(auth))
        assert renewed["exp"] > claims["exp"]
        assert renewed["status_list"] == claims["status_list"]


def test_list_is_signed_by_the_new_key_after_the_old_one_is_revoked(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    pair = make_key_pair(tmp_path)
    with open_auth(new_database(), pair, jwks_max_age=1) as auth:
        answer = log_in(auth)
        assert status_of(auth, pair, answer) == 0
        run_command(auth, "keys", "revoke", pair.kid)

        auth.post("/revoke", data={"token": answer["refresh_token"]})

        assert status_of(auth, pair, answer) == 1, "signed by a published key"


@pytest.mark.parametrize("path", ["0", "2", "-1", "x", "1.0", "999999999999999999999"])
def test_unknown_list_is_not_found(path: str, auth: FlaskClient) -> None:
    assert auth.get(f"/.well-known/status-list/{path}").status_code == 404


@both_databases
def test_changed_list_has_a_later_iat_even_if_the_clock_of_a_replica_is_slow(
    auth: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list was reissued on schedule; then a replica whose clock is behind revoked a session in it."""
    answer = log_in(auth)
    half = auth.application.extensions["settings"].status_list_lifetime // 2
    real_time = time.time
    period = int(real_time()) // half * half
    change_row(auth, sa.update(StatusList).values(changed_at=period - 100))
    before = read_claims(fetch(auth))

    monkeypatch.setattr(time, "time", lambda: period - 50.0)
    assert auth.post("/revoke", data={"token": answer["refresh_token"]}).status_code == 200
    monkeypatch.setattr(time, "time", real_time)

    after = read_claims(fetch(auth))
    assert after["status_list"] != before["status_list"]
    assert after["iat"] > before["iat"]


def test_unchanged_index_of_lists_is_not_sent_again(auth: FlaskClient) -> None:
    first = auth.get("/.well-known/status-list")
    again = auth.get("/.well-known/status-list", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
