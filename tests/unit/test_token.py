"""The grants of POST /token."""

import time

import jwt
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import User
from tests.conftest import KeyPair, both_databases, find_user, get_token
from tests.forger import COURSES, ISSUER, NEWCOMER

pytestmark = both_databases

GOOD = {"username": "student1", "password": "password123"}


@pytest.mark.parametrize("encoding", ["data", "json"])
@pytest.mark.parametrize("extra", [{}, {"grant_type": "password"}, {"unknown": "x"}], ids=str)
def test_password_grant_returns_tokens(encoding: str, extra: dict[str, str], auth: FlaskClient) -> None:
    response = auth.post("/token", **{encoding: GOOD | extra})

    assert response.status_code == 200
    assert response.json
    assert list(response.json) == ["access_token", "token_type", "expires_in", "scope", "refresh_token"]
    assert response.json["expires_in"] == 900
    assert response.json["scope"] == "courses:read enrolments:write"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"


def test_access_token_has_exactly_the_expected_header_and_claims(
    auth: FlaskClient, key_pair: KeyPair
) -> None:
    token = get_token(auth)

    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, key_pair.private_key.public_key(), ["RS256"], audience=COURSES, issuer=ISSUER)
    assert header == {"alg": "RS256", "typ": "at+jwt", "kid": key_pair.kid}
    assert claims.pop("jti")
    assert claims.pop("sid")
    assert claims.pop("status")  # see test_status_lists
    assert time.time() - 30 < claims.pop("iat") <= time.time() < claims.pop("exp") <= time.time() + 900
    assert claims == {
        "iss": ISSUER,
        "sub": str(find_user(auth, "student1").id),
        "aud": [ISSUER, COURSES, NEWCOMER],
        "client_id": "first-party",
        "scope": "courses:read enrolments:write",
        "username": "student1",
    }


def test_every_token_has_its_own_id(auth: FlaskClient) -> None:
    ids = {jwt.decode(get_token(auth), options={"verify_signature": False})["jti"] for _ in range(3)}

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (None, "courses:read courses:write enrolments:write"),
        ("courses:read", "courses:read"),
        ("courses:write courses:read courses:write", "courses:read courses:write"),
    ],
)
def test_requested_scope_narrows_the_token(scope: str | None, granted: str, auth: FlaskClient) -> None:
    form = {"username": "teacher1", "password": "password456"} | ({"scope": scope} if scope else {})

    answer = auth.post("/token", data=form).json

    assert answer
    assert answer["scope"] == granted
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["scope"] == granted


@pytest.mark.parametrize("scope", ["courses:write", "courses:read courses:write", "users:manage", "x"])
def test_scope_beyond_the_users_roles_is_refused(scope: str, auth: FlaskClient) -> None:
    response = auth.post("/token", data=GOOD | {"scope": scope})

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_scope")


def test_wrong_password_unknown_user_and_disabled_user_get_the_same_response(auth: FlaskClient) -> None:
    with auth.application.app_context():
        db = auth.application.extensions["sqlalchemy"]
        db.session.execute(sa.update(User).where(User.username == "teacher1").values(is_disabled=True))
        db.session.commit()

    answers = [
        auth.post("/token", data={"username": username, "password": password})
        for username, password in [
            ("student1", "wrong"),
            ("student1", "password456"),
            ("nobody", "password123"),
            ("teacher1", "password456"),
            ("teacher1", "wrong"),
            ("STUDENT1", "PASSWORD123"),
        ]
    ]

    assert {answer.status_code for answer in answers} == {400}
    assert {answer.get_data() for answer in answers} == {
        b'{"error":"invalid_grant","error_description":"The user name or the password is wrong."}\n'
    }


def test_password_may_be_entered_in_any_unicode_form(auth: FlaskClient) -> None:
    with auth.application.app_context():
        from auth_app.accounts.passwords import hash_password

        db = auth.application.extensions["sqlalchemy"]
        composed = hash_password("caf\u00e9 \u2460")
        db.session.execute(sa.update(User).values(password_hash=composed))
        db.session.commit()

    response = auth.post("/token", data={"username": "student1", "password": "cafe\u0301 1"})

    assert response.status_code == 200


def test_cross_site_login_is_refused_and_does_not_lock_the_account(auth: FlaskClient) -> None:
    """Otherwise a site could make a visitor's browser guess until the account is throttled."""
    form = {"username": "student1", "password": "wrong"}
    for _ in range(10):
        refused = auth.post("/token", data=form, headers={"Sec-Fetch-Site": "cross-site"})
        assert (refused.status_code, refused.get_json()["error"]) == (403, "access_denied")

    for site in ("same-origin", "none"):
        answer = auth.post(
            "/token", data=form | {"password": "password123"}, headers={"Sec-Fetch-Site": site}
        )
        assert answer.status_code == 200
