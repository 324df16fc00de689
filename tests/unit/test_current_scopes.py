"""In auth_app a token is limited to the scopes that its user and client have now."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import Client, User
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
    get_token,
    log_in,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER, NEWCOMER

pytestmark = both_databases


def introspect(client: FlaskClient, token: str) -> dict[str, Any]:
    credentials = add_client(client, "inspector", "--resource", ISSUER, "--resource", COURSES)
    answer: dict[str, Any] = client.post("/introspect", data={"token": token}, auth=credentials).get_json()
    return answer


def client_token(client: FlaskClient, credentials: tuple[str, str]) -> str:
    answer = client.post("/token", data={"grant_type": "client_credentials"}, auth=credentials).get_json()
    token: str = answer["access_token"]
    return token


def status_of(client: FlaskClient, key_pair: KeyPair, token: str) -> int:
    keys = read_key_file(key_pair.public_file)
    uri, index = read_reference(read_claims(token))
    text = client.get(uri.removeprefix(ISSUER)).text
    return parse_status_list(text, uri, FixedKeys(keys))[index]


def test_administrator_demoted_directly_in_the_database_cannot_manage_users(auth: FlaskClient) -> None:
    token = get_token(auth, "admin1")
    change_row(auth, sa.update(User).where(User.username == "admin1").values(roles=["student"]))

    assert auth.get("/users", headers=bearer(token)).status_code == 403
    assert auth.get("/users/me", headers=bearer(token)).status_code == 200
    assert introspect(auth, token)["scope"] == "courses:read enrolments:write"


def test_demoted_administrator_cannot_restore_the_role(auth: FlaskClient, key_pair: KeyPair) -> None:
    run_command(auth, "users", "add", "boss", "--role", "admin", stdin="correct horse battery")
    token = get_token(auth, "boss", password="correct horse battery")
    change_user(auth, "boss", bearer(get_token(auth, "admin1")), roles=["student"])

    path = f"/users/{find_user(auth, 'boss').id}"
    headers = bearer(token) | {"If-Match": "*"}
    assert auth.patch(path, json={"roles": ["admin"]}, headers=headers).status_code == 401
    assert status_of(auth, key_pair, token) == 1, "the services refuse it too"


def test_added_role_neither_revokes_nor_extends_existing_tokens(auth: FlaskClient) -> None:
    token = get_token(auth)

    change_user(auth, "student1", bearer(get_token(auth, "admin1")), roles=["student", "admin"])

    assert auth.get("/users/me", headers=bearer(token)).status_code == 200
    assert auth.get("/users", headers=bearer(token)).status_code == 403
    assert introspect(auth, token)["scope"] == "courses:read enrolments:write"


def test_introspection_of_a_refresh_token_shows_the_remaining_scopes(auth: FlaskClient) -> None:
    credentials = add_client(auth, "website", "--scope", "courses:read", "--scope", "users:manage")
    form = {"username": "admin1", "password": "password789"}
    answer = auth.post("/token", data=form, auth=credentials).get_json()
    change_row(auth, sa.update(User).where(User.username == "admin1").values(roles=["student"]))

    told = auth.post("/introspect", data={"token": answer["refresh_token"]}, auth=credentials).get_json()

    assert told["scope"] == "courses:read"


def test_tokens_are_limited_to_the_clients_current_scopes(auth: FlaskClient) -> None:
    credentials = add_client(auth, "robot", "--scope", "users:manage")
    own = client_token(auth, credentials)
    form = {"username": "admin1", "password": "password789"}
    login = auth.post("/token", data=form, auth=credentials).get_json()["access_token"]
    assert auth.get("/users", headers=bearer(own)).status_code == 200
    change_row(auth, sa.update(Client).values(scopes=["courses:read"]))

    for token in (own, login):
        assert auth.get("/users", headers=bearer(token)).status_code == 403
    assert introspect(auth, own)["scope"] == introspect_again(auth, login)["scope"] == ""


def introspect_again(client: FlaskClient, token: str) -> dict[str, Any]:
    credentials = add_client(client, "inspector2", "--resource", ISSUER)
    answer: dict[str, Any] = client.post("/introspect", data={"token": token}, auth=credentials).get_json()
    return answer


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--no-scope"], 1),
        (["--scope", "courses:read"], 1),
        (["--resource", COURSES], 1),
        (["--scope", "courses:read", "--scope", "users:manage", "--scope", "courses:write"], 0),
    ],
)
def test_clients_tokens_are_revoked_only_if_it_loses_a_scope_or_resource(
    options: list[str], status: int, auth: FlaskClient, key_pair: KeyPair
) -> None:
    credentials = add_client(auth, "robot", "--scope", "courses:read", "--scope", "users:manage")
    token = client_token(auth, credentials)

    assert run_command(auth, "clients", "set", "robot", *options).exit_code == 0

    assert status_of(auth, key_pair, token) == status
    assert (auth.get("/users", headers=bearer(token)).status_code == 401) == bool(status)
    renewed = read_claims(client_token(auth, credentials))
    assert (renewed["status"] == read_claims(token)["status"]) == (status == 0)


def test_refresh_drops_resources_that_the_client_has_lost(auth: FlaskClient) -> None:
    credentials = add_client(auth, "website", "--scope", "courses:read")
    form = {"username": "student1", "password": "password123"}
    answer = auth.post("/token", data=form, auth=credentials).get_json()
    run_command(auth, "clients", "set", "website", "--resource", ISSUER)

    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
    renewed = auth.post("/token", data=form, auth=credentials).get_json()

    assert read_claims(answer["access_token"])["aud"] == [ISSUER, COURSES, NEWCOMER]
    assert read_claims(renewed["access_token"])["aud"] == [ISSUER]


def test_older_token_is_forbidden_while_its_user_must_change_the_password(auth: FlaskClient) -> None:
    token = get_token(auth, "admin1")
    change_row(auth, sa.update(User).where(User.username == "admin1").values(must_change_password=True))

    assert auth.get("/users", headers=bearer(token)).status_code == 403


def test_id_of_a_removed_client_is_never_reused(auth: FlaskClient) -> None:
    credentials = add_client(auth, "robot", "--scope", "users:manage")
    token = client_token(auth, credentials)
    run_command(auth, "clients", "remove", "robot")

    again = run_command(auth, "clients", "add", "robot", "--scope", "courses:read")

    assert again.exit_code == 1
    assert "IDs are never reused" in again.stderr
    assert auth.get("/users", headers=bearer(token)).status_code == 401


def test_introspecting_client_does_not_narrow_the_scopes_of_a_users_token(auth: FlaskClient) -> None:
    assert introspect(auth, log_in(auth, "teacher1")["access_token"])["scope"] == (
        "courses:read courses:write enrolments:write"
    )
