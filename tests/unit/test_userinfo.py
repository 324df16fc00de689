"""`/userinfo` returns the user's claims by scope, and accepts only access tokens."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import User
from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    both_databases,
    change_row,
    find_user,
    get_token,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER, Forger
from tests.sign_in import Application, add_application, get_code, get_tokens, sign_in

pytestmark = both_databases

PROFILE = ("--name", "Ann Smith", "--email", "ann@example.com", "--email-verified")
EVERY_SCOPE = "openid profile email roles"


@pytest.fixture
def web(auth: FlaskClient) -> Application:
    """An application, and a browser in which a student with a name and an address has signed in."""
    assert run_command(auth, "users", "set", "student1", *PROFILE).exit_code == 0
    change_row(auth, sa.update(User).values(updated_at=1000))
    application = add_application(auth, "web", "--refresh-token", "always")
    sign_in(auth)
    return application


SCOPES: dict[str, dict[str, object]] = {
    "openid": {},
    "openid profile": {"name": "Ann Smith", "preferred_username": "student1", "updated_at": 1000},
    "openid email": {"email": "ann@example.com", "email_verified": True},
    "openid roles": {"roles": ["student"]},
    "openid courses:read": {},
    "openid offline_access": {},
    "openid email roles": {"email": "ann@example.com", "email_verified": True, "roles": ["student"]},
}


@pytest.mark.parametrize(("scope", "claims"), SCOPES.items(), ids=SCOPES)
def test_each_scope_returns_its_claims(
    scope: str, claims: dict[str, object], auth: FlaskClient, web: Application
) -> None:
    token = get_tokens(auth, web, scope=scope)["access_token"]

    answer = auth.get("/userinfo", headers=bearer(token)).json

    assert answer == {"sub": str(find_user(auth, "student1").id), **claims}


# Values that a user lacks, and the claims that `/userinfo` then omits.
LACKING: dict[str, tuple[dict[str, Any], set[str]]] = {
    "name": ({"name": None}, {"name"}),
    "address": ({"email": None, "email_verified": False}, {"email", "email_verified"}),
    "time": ({"updated_at": None}, {"updated_at"}),
    "roles": ({"roles": []}, set()),
}


@pytest.mark.parametrize(("values", "missing"), LACKING.values(), ids=LACKING)
def test_claim_without_a_value_is_omitted(
    values: dict[str, Any], missing: set[str], auth: FlaskClient, web: Application
) -> None:
    token = get_tokens(auth, web, scope=EVERY_SCOPE)["access_token"]
    before = auth.get("/userinfo", headers=bearer(token)).get_json()

    change_row(auth, sa.update(User).where(User.username == "student1").values(**values))

    after = auth.get("/userinfo", headers=bearer(token)).get_json()
    assert before.keys() - after.keys() == missing


def test_unverified_address_is_marked_as_unverified(auth: FlaskClient, web: Application) -> None:
    token = get_tokens(auth, web, scope="openid email")["access_token"]

    run_command(auth, "users", "set", "student1", "--email", "new@example.com")

    answer = auth.get("/userinfo", headers=bearer(token)).get_json()
    assert (answer["email"], answer["email_verified"]) == ("new@example.com", False)


def test_id_token_and_userinfo_have_the_same_subject(auth: FlaskClient, web: Application) -> None:
    tokens = get_tokens(auth, web, scope=EVERY_SCOPE)

    answer = auth.get("/userinfo", headers=bearer(tokens["access_token"])).get_json()

    assert answer["sub"] == read_claims(tokens["id_token"])["sub"], "OpenID Connect Core section 5.3.2"


def test_refreshed_token_with_fewer_scopes_gets_fewer_claims(auth: FlaskClient, web: Application) -> None:
    first = get_tokens(auth, web, scope=EVERY_SCOPE)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "scope": "openid roles"}

    token = auth.post("/token", data=form, auth=web.credentials).get_json()["access_token"]

    assert set(auth.get("/userinfo", headers=bearer(token)).get_json()) == {"sub", "roles"}


# How a token may be sent (RFC 6750 section 2).
Send = Callable[[FlaskClient, str], TestResponse]
FORM = "application/x-www-form-urlencoded"

WAYS: dict[str, Send] = {
    "GET, header": lambda auth, token: auth.get("/userinfo", headers=bearer(token)),
    "GET, lower case": lambda auth, token: auth.get(
        "/userinfo", headers={"Authorization": f"bearer  {token} "}
    ),
    "POST, header": lambda auth, token: auth.post("/userinfo", headers=bearer(token)),
    "POST, header and an empty form": lambda auth, token: auth.post(
        "/userinfo", headers={**bearer(token), "Content-Type": FORM}
    ),
    "POST, form": lambda auth, token: auth.post("/userinfo", data={"access_token": token}),
}


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
def test_token_is_accepted_in_the_header_or_in_a_form(
    send: Send, auth: FlaskClient, web: Application
) -> None:
    response = send(auth, get_tokens(auth, web, scope="openid profile")["access_token"])

    assert response.status_code == 200
    assert response.get_json()["preferred_username"] == "student1"
    assert response.headers["Cache-Control"] == "no-store"


def test_response_to_head_has_no_body(auth: FlaskClient, web: Application) -> None:
    token = get_tokens(auth, web)["access_token"]

    good, bad = (auth.head("/userinfo", headers=headers) for headers in (bearer(token), {}))

    assert (good.status_code, good.data, bad.status_code, bad.data) == (200, b"", 401, b"")
    assert bad.headers["WWW-Authenticate"].startswith("Bearer")


# How a token may not be sent, the status, and how the challenge begins.
BAD_WAYS: dict[str, tuple[Send, int, str | None]] = {
    "not sent": (lambda auth, _: auth.get("/userinfo"), 401, "Bearer resource_metadata="),
    "an empty form": (lambda auth, _: auth.post("/userinfo", data={}), 401, "Bearer resource_metadata="),
    "query": (
        lambda auth, token: auth.get("/userinfo", query_string={"access_token": token}),
        401,
        "Bearer resource_metadata=",
    ),
    "query of a POST": (
        lambda auth, token: auth.post("/userinfo", query_string={"access_token": token}),
        401,
        "Bearer resource_metadata=",
    ),
    "JSON": (
        lambda auth, token: auth.post("/userinfo", json={"access_token": token}),
        401,
        "Bearer resource_metadata=",
    ),
    "form of a GET": (
        lambda auth, token: auth.get("/userinfo", data={"access_token": token}),
        401,
        "Bearer resource_metadata=",
    ),
    "Basic": (
        lambda auth, token: auth.get("/userinfo", auth=("web", token)),
        401,
        "Bearer resource_metadata=",
    ),
    "bare": (
        lambda auth, token: auth.get("/userinfo", headers={"Authorization": token}),
        401,
        "Bearer resource_metadata=",
    ),
    "no token": (
        lambda auth, _: auth.get("/userinfo", headers={"Authorization": "Bearer"}),
        401,
        'Bearer error="invalid_token"',
    ),
    "two tokens": (
        lambda auth, token: auth.get("/userinfo", headers=bearer(f"{token} {token}")),
        401,
        'Bearer error="invalid_token"',
    ),
    "two in a form": (
        lambda auth, token: auth.post("/userinfo", data={"access_token": [token, token]}),
        400,
        None,
    ),
    "header and form": (
        lambda auth, token: auth.post("/userinfo", data={"access_token": token}, headers=bearer(token)),
        400,
        None,
    ),
    "PUT": (lambda auth, token: auth.put("/userinfo", headers=bearer(token)), 405, None),
}


@pytest.mark.parametrize(("send", "status", "challenge"), BAD_WAYS.values(), ids=BAD_WAYS)
def test_token_sent_in_any_other_way_is_refused(
    send: Send, status: int, challenge: str | None, auth: FlaskClient, web: Application
) -> None:
    response = send(auth, get_tokens(auth, web)["access_token"])

    assert response.status_code == status
    found = response.headers.get("WWW-Authenticate")
    assert found is None if challenge is None else str(found).startswith(challenge)
    assert "sub" not in response.get_json()


# Tokens of the wrong kind, and tokens that are no longer valid.
Get = Callable[[FlaskClient, Application, Forger], str]


def sign_like(genuine: Forger, token: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return a token with the claims of another, except for the changes, signed with the issuer's key."""
    return genuine.sign_payload(json.dumps({**read_claims(token), **changes}).encode(), header)


def get_access_token(auth: FlaskClient, web: Application) -> str:
    token: str = get_tokens(auth, web, scope=EVERY_SCOPE)["access_token"]
    return token


def get_logout_token(auth: FlaskClient, web: Application, genuine: Forger) -> str:
    claims = read_claims(get_access_token(auth, web))
    event: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    told = {"iss": ISSUER, "aud": "web", "sub": claims["sub"], "sid": claims["sid"], "events": event}
    times = {"iat": int(time.time()), "exp": int(time.time()) + 120, "jti": str(uuid.uuid4())}
    return genuine.sign_payload(json.dumps({**told, **times}).encode(), {"typ": "logout+jwt"})


def get_token_of_client(auth: FlaskClient) -> str:
    form = {"grant_type": "client_credentials"}
    answer = auth.post("/token", data=form, auth=add_client(auth, "job", "--scope", "courses:read"))
    token: str = answer.get_json()["access_token"]
    return token


def end_by(*command: str) -> Get:
    def get(auth: FlaskClient, web: Application, _genuine: Forger) -> str:
        token = get_access_token(auth, web)
        assert auth.get("/userinfo", headers=bearer(token)).status_code == 200
        assert run_command(auth, *command).exit_code == 0
        return token

    return get


def get_revoked_token(auth: FlaskClient, web: Application, _genuine: Forger) -> str:
    token = get_access_token(auth, web)
    assert auth.post("/revoke", data={"token": token}, auth=web.credentials).status_code == 200
    return token


REFUSED: dict[str, tuple[Get, int]] = {
    "ID token": (lambda auth, web, _: get_tokens(auth, web, scope=EVERY_SCOPE)["id_token"], 401),
    "ID token with the audience of a server": (
        lambda auth, web, genuine: sign_like(
            genuine, get_tokens(auth, web)["id_token"], {"typ": "JWT"}, aud=[ISSUER, COURSES], scope="openid"
        ),
        401,
    ),
    "logout token": (get_logout_token, 401),
    "refresh token": (lambda auth, web, _: get_tokens(auth, web)["refresh_token"], 401),
    "code": (lambda auth, web, _: get_code(auth, web), 401),
    "status list": (
        lambda auth, _web, _: (
            auth.get(
                auth.get("/.well-known/status-list").get_json()["status_lists"][0].removeprefix(ISSUER)
            ).text
        ),
        401,
    ),
    "client credentials": (lambda auth, _web, _: get_token_of_client(auth), 403),
    "client credentials with openid": (
        lambda auth, _web, genuine: sign_like(genuine, get_token_of_client(auth), scope=EVERY_SCOPE),
        401,
    ),
    "without openid": (
        lambda auth, web, _: get_tokens(auth, web, scope="profile email roles")["access_token"],
        403,
    ),
    "without a scope": (
        lambda auth, web, genuine: sign_like(genuine, get_access_token(auth, web), scope=""),
        403,
    ),
    "password grant": (lambda auth, _web, _: get_token(auth), 403),
    "revoked": (get_revoked_token, 401),
    "expired": (
        lambda auth, web, genuine: sign_like(
            genuine, get_access_token(auth, web), iat=int(time.time()) - 900, exp=int(time.time()) - 60
        ),
        401,
    ),
    "other audience": (
        lambda auth, web, genuine: sign_like(genuine, get_access_token(auth, web), aud="web"),
        401,
    ),
    "session of another user": (
        lambda auth, web, genuine: sign_like(
            genuine, get_access_token(auth, web), sub=str(find_user(auth, "admin1").id)
        ),
        401,
    ),
    "disabled user": (end_by("users", "disable", "student1"), 401),
    "deleted user": (end_by("users", "delete", "student1"), 401),
    "removed client": (end_by("clients", "remove", "web"), 401),
    "ended session": (end_by("sessions", "revoke", "--user", "student1"), 401),
}


@pytest.mark.parametrize(("get", "status"), REFUSED.values(), ids=REFUSED)
def test_unsuitable_token_is_refused(
    get: Get, status: int, auth: FlaskClient, web: Application, key_pair: KeyPair
) -> None:
    token = get(auth, web, Forger(key_pair.private_key, key_pair.kid))

    for send in WAYS.values():
        response = send(auth, token)

        assert response.status_code == status
        error = "invalid_token" if status == 401 else 'insufficient_scope", scope="openid'
        assert response.headers["WWW-Authenticate"].startswith(f'Bearer error="{error}"')


def test_userinfo_is_refused_while_the_user_must_change_the_password(
    auth: FlaskClient, web: Application
) -> None:
    token = get_access_token(auth, web)
    change_row(auth, sa.update(User).values(must_change_password=True))

    assert auth.get("/userinfo", headers=bearer(token)).status_code == 403


def test_id_token_is_not_accepted_as_an_access_token_anywhere(
    auth: FlaskClient, course: FlaskClient, web: Application, key_pair: KeyPair
) -> None:
    """Neither as it is issued, nor with the audience and the claims of an access token."""
    tokens = get_tokens(auth, web, scope=EVERY_SCOPE)
    genuine = Forger(key_pair.private_key, key_pair.kid)
    access = read_claims(tokens["access_token"])
    mixed = sign_like(genuine, tokens["id_token"], {"typ": "JWT"}, **access)

    for token in (tokens["id_token"], mixed):
        for client, path in ((course, "/courses"), (auth, "/users/me"), (auth, "/userinfo")):
            assert client.get(path, headers=bearer(token)).status_code == 401
        inspected = auth.post("/introspect", data={"token": token}, auth=web.credentials)
        assert inspected.json == {"active": False}
        assert auth.post("/revoke", data={"token": token}, auth=web.credentials).status_code == 200
    assert auth.get("/userinfo", headers=bearer(tokens["access_token"])).status_code == 200, "not revoked"
