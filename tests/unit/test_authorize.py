"""`/authorize` issues codes for users who sign in, and refuses everything else (RFC 6749 section 4.1)."""

import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import AuthorizationCode, BrowserSession, User
from tests.conftest import both_databases, change_row, find_user, read_claims, run_command
from tests.forger import COURSES, ISSUER, NEWCOMER, encode
from tests.sign_in import (
    CALLBACK,
    Application,
    add_application,
    answer_of,
    challenge_of,
    fields_of,
    get_code,
    get_tokens,
    new_browser,
    sign_in,
    submit_sign_in,
)

pytestmark = both_databases


@pytest.fixture
def web(auth: FlaskClient) -> Application:
    return add_application(auth)


def test_sign_in_returns_a_code_that_is_exchanged_for_tokens(auth: FlaskClient, web: Application) -> None:
    response = submit_sign_in(auth, auth.get(web.url(nonce="once")), "student1", "password123")
    answer = answer_of(auth.get(response.location))
    tokens = web.redeem(auth, answer["code"]).json

    assert (answer["state"], answer["iss"]) == ("some state", ISSUER)
    assert tokens
    assert tokens["scope"] == "courses:read openid"
    assert "refresh_token" not in tokens
    claims = read_claims(tokens["access_token"])
    assert (claims["sub"], claims["client_id"]) == (str(find_user(auth, "student1").id), "web")


def test_id_token_states_who_signed_in_when_and_for_which_client(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    tokens = get_tokens(auth, web, nonce="once")
    claims = read_claims(tokens["id_token"])

    assert list(claims) == [
        "iss", "sub", "aud", "azp", "iat", "exp", "auth_time", "amr", "sid", "at_hash", "nonce",
    ]  # fmt: skip
    assert (claims["iss"], claims["aud"], claims["azp"]) == (ISSUER, "web", "web")
    assert (claims["nonce"], claims["amr"]) == ("once", ["pwd"])
    assert claims["auth_time"] == pytest.approx(time.time(), abs=5)
    assert claims["sid"] == read_claims(tokens["access_token"])["sid"]
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]  # section 3.1.3.6
    assert claims["at_hash"] == encode(half)


def test_second_application_gets_a_code_without_another_sign_in(auth: FlaskClient, web: Application) -> None:
    other = add_application(auth, "other", "--public")
    sign_in(auth)

    first, second = (read_claims(get_tokens(auth, one)["id_token"]) for one in (web, other))

    assert first["sub"] == second["sub"]
    assert first["sid"] != second["sid"]


def test_authorization_request_may_be_sent_by_post(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    forwarded = auth.post("/authorize", data=parse_qs(urlsplit(web.url()).query))

    assert forwarded.status_code == 303
    assert "code" in answer_of(auth.get(forwarded.location))


UNSAFE = {
    "unknown client": {"client_id": "nobody"},
    "no client": {"client_id": None},
    "repeated client": {"client_id": ["web", "web"]},
    "client with a NUL": {"client_id": "web\0"},
    "client without a redirect URI": {"client_id": "first-party"},
    "unknown redirect URI": {"redirect_uri": "https://evil.example.com/callback"},
    "no redirect URI": {"redirect_uri": None},
    "repeated redirect URI": {"redirect_uri": [CALLBACK, CALLBACK]},
    "redirect URI with a suffix": {"redirect_uri": CALLBACK + "/more"},
    "redirect URI with a query": {"redirect_uri": CALLBACK + "?more"},
    "redirect URI with a fragment": {"redirect_uri": CALLBACK + "#more"},
    "redirect URI in capitals": {"redirect_uri": CALLBACK.upper()},
    "redirect URI with a user": {"redirect_uri": "https://web.example.com@evil.example.com/callback"},
    "redirect URI with another port": {"redirect_uri": "https://web.example.com:8443/callback"},
}


@pytest.mark.parametrize("changes", UNSAFE.values(), ids=UNSAFE)
def test_browser_is_never_redirected_to_an_unregistered_uri(
    changes: dict[str, Any], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    response = auth.get(web.url(**changes))

    assert (response.status_code, response.mimetype) == (400, "text/html")
    assert "Location" not in response.headers
    assert "evil" not in response.text


REFUSED = {
    "no response_type": ({"response_type": None}, "invalid_request"),
    "response type token": ({"response_type": "token"}, "unsupported_response_type"),
    "response type code id_token": ({"response_type": "code id_token"}, "unsupported_response_type"),
    "response mode fragment": ({"response_mode": "fragment"}, "invalid_request"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "no challenge method": ({"code_challenge_method": None}, "invalid_request"),
    "plain challenge": ({"code_challenge_method": "plain"}, "invalid_request"),
    "short challenge": ({"code_challenge": "x" * 42}, "invalid_request"),
    "repeated scope": ({"scope": ["openid", "openid"]}, "invalid_request"),
    "repeated nonce": ({"nonce": ["a", "b"]}, "invalid_request"),
    "repeated unknown parameter": ({"unknown": ["a", "b"]}, "invalid_request"),
    "long nonce": ({"nonce": "x" * 1025}, "invalid_request"),
    "nonce with a NUL": ({"nonce": "x\0"}, "invalid_request"),
    "unknown prompt": ({"prompt": "create"}, "invalid_request"),
    "prompt none and login": ({"prompt": "none login"}, "invalid_request"),
    "negative max_age": ({"max_age": "-1"}, "invalid_request"),
    "max_age that is not a number": ({"max_age": "soon"}, "invalid_request"),
    "request object": ({"request": "a.b.c"}, "request_not_supported"),
    "request URI": ({"request_uri": "https://web.example.com/r"}, "request_uri_not_supported"),
    "registration": ({"registration": "{}"}, "registration_not_supported"),
    "only an unknown scope": ({"scope": "unknown"}, "invalid_scope"),
    "scope of another role": ({"scope": "users:manage"}, "invalid_scope"),
    "unknown resource": ({"resource": "https://other.example.com"}, "invalid_target"),
}


@pytest.mark.parametrize(("changes", "error"), REFUSED.values(), ids=REFUSED)
def test_error_is_returned_to_the_application(
    changes: dict[str, Any], error: str, auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    response = auth.get(web.url(**changes))
    answer = answer_of(response)

    assert response.location.startswith(f"{CALLBACK}?")
    assert (answer["error"], answer["state"], answer["iss"]) == (error, "some state", ISSUER)
    assert answer["error_description"]


def test_unsupported_parameters_are_ignored(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    code = get_code(
        auth, web, ui_locales="de", claims='{"id_token":{}}', acr_values="x", display="page", prompt="consent"
    )

    assert code


def test_unknown_scopes_are_ignored_and_granted_ones_returned(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    tokens = get_tokens(auth, web, scope="openid email unknown users:manage courses:write courses:read")

    assert tokens["scope"] == "courses:read email openid"


def test_omitted_scope_grants_everything_but_openid(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    tokens = get_tokens(auth, web, scope=None)

    assert set(tokens["scope"].split()) == {"courses:read", "email", "profile", "roles"}
    assert "id_token" not in tokens


def test_resource_narrows_the_audience(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    assert read_claims(get_tokens(auth, web, resource=COURSES)["access_token"])["aud"] == [COURSES]
    assert read_claims(get_tokens(auth, web)["access_token"])["aud"] == [ISSUER, COURSES, NEWCOMER]


def test_resource_in_the_token_request_narrows_the_audience_further(
    auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    code = get_code(auth, web)

    tokens = web.redeem(auth, code, resource=COURSES).json

    assert tokens
    assert read_claims(tokens["access_token"])["aud"] == [COURSES]


@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_prompt_asks_for_the_password_again(prompt: str, auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    change_row(auth, sa.update(BrowserSession).values(authenticated_at=1))

    page = auth.get(web.url(prompt=prompt))
    assert 'value="student1"' in page.text, "the form shows who is signed in"
    response = submit_sign_in(auth, page, "student1", "password123")
    code = answer_of(auth.get(response.location))["code"]

    tokens = web.redeem(auth, code).json
    assert tokens
    assert read_claims(tokens["id_token"])["auth_time"] == pytest.approx(time.time(), abs=5)


def test_silent_request_is_refused_without_a_recent_sign_in(auth: FlaskClient, web: Application) -> None:
    assert answer_of(auth.get(web.url(prompt="none")))["error"] == "login_required"

    sign_in(auth)
    assert "code" in answer_of(auth.get(web.url(prompt="none")))
    change_row(auth, sa.update(BrowserSession).values(authenticated_at=int(time.time()) - 100))
    assert answer_of(auth.get(web.url(prompt="none", max_age="99")))["error"] == "login_required"
    assert "code" in answer_of(auth.get(web.url(prompt="none", max_age="200")))


def test_max_age_asks_for_the_password_when_the_sign_in_is_older(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    change_row(auth, sa.update(BrowserSession).values(authenticated_at=int(time.time()) - 100))

    page = auth.get(web.url(max_age="0"))
    response = submit_sign_in(auth, page, "student1", "password123")

    assert "code" in answer_of(auth.get(response.location))


def test_form_post_response_is_escaped_and_carries_the_code(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    page = auth.get(web.url(response_mode="form_post", state='"><script>'))

    fields = fields_of(page)
    assert fields["state"] == '"><script>'
    assert f'action="{CALLBACK}"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "form-action 'self' https:;" in policy
    assert "script-src 'self'" in policy
    assert web.redeem(auth, fields["code"]).status_code == 200


def test_error_is_sent_by_form_post_too(auth: FlaskClient, web: Application) -> None:
    page = auth.get(web.url(response_mode="form_post", prompt="none"))

    assert fields_of(page)["error"] == "login_required"


BAD_REDEMPTIONS: dict[str, dict[str, Any]] = {
    "unknown code": {"code": "x" * 43},
    "another redirect URI": {"redirect_uri": "https://web.example.com/other"},
    "another verifier": {"code_verifier": "w" * 43},
    "the challenge as verifier": {"code_verifier": challenge_of("v" * 43)},
}


@pytest.mark.parametrize("changes", BAD_REDEMPTIONS.values(), ids=BAD_REDEMPTIONS)
def test_failed_redemption_does_not_use_up_the_code(
    changes: dict[str, Any], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    code = get_code(auth, web)

    refused = web.redeem(auth, code, **changes)

    assert (refused.status_code, refused.json and refused.json["error"]) == (400, "invalid_grant")
    assert web.redeem(auth, code).status_code == 200


@pytest.mark.parametrize("missing", ["code", "redirect_uri", "code_verifier"])
def test_code_cannot_be_redeemed_without_all_parameters(
    missing: str, auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    response = web.redeem(auth, get_code(auth, web), **{missing: None})

    assert response.json == {
        "error": "invalid_request",
        "error_description": f"The parameter {missing} is missing.",
    }


def test_code_of_another_client_is_refused(auth: FlaskClient, web: Application) -> None:
    other = add_application(auth, "other")
    sign_in(auth)

    response = other.redeem(auth, get_code(auth, web))

    assert response.json
    assert response.json["error"] == "invalid_grant"


def test_code_expires_after_a_minute(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    code = get_code(auth, web)
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        expires_at = session.scalar(sa.select(AuthorizationCode.expires_at))
    assert expires_at - time.time() == pytest.approx(60, abs=3)

    change_row(auth, sa.update(AuthorizationCode).values(expires_at=int(time.time())))

    assert web.redeem(auth, code).status_code == 400


def test_reused_code_revokes_the_tokens_issued_for_it(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    code = get_code(auth, web, scope="openid offline_access")
    tokens = web.redeem(auth, code).json
    assert tokens

    assert web.redeem(auth, code).status_code == 400

    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert auth.post("/token", data=form, auth=web.credentials).status_code == 400
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert auth.get("/userinfo", headers=headers).status_code == 401


def test_reuse_of_a_code_with_a_wrong_verifier_revokes_nothing(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    code = get_code(auth, web)
    tokens = web.redeem(auth, code).json
    assert tokens

    assert web.redeem(auth, code, code_verifier="w" * 43).status_code == 400

    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert auth.get("/userinfo", headers=headers).status_code == 200


ENDS: dict[str, tuple[str, ...]] = {
    "disabled": ("users", "disable", "student1"),
    "deleted": ("users", "delete", "student1"),
    "sessions of the user revoked": ("sessions", "revoke", "--user", "student1"),
    "sessions of all users revoked": ("sessions", "revoke", "--all"),
    "client removed": ("clients", "remove", "web"),
}


@pytest.mark.parametrize("command", ENDS.values(), ids=ENDS)
def test_code_is_refused_once_its_user_or_client_loses_access(
    command: tuple[str, ...], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    code = get_code(auth, web)

    assert run_command(auth, *command).exit_code == 0

    assert web.redeem(auth, code).status_code in {400, 401}


@pytest.mark.parametrize("command", list(ENDS.values())[:4], ids=list(ENDS)[:4])
def test_browser_is_signed_out_when_its_user_loses_access(
    command: tuple[str, ...], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    assert run_command(auth, *command).exit_code == 0

    assert answer_of(auth.get(web.url(prompt="none")))["error"] == "login_required"


def test_code_is_refused_after_sign_out(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    code = get_code(auth, web)
    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert web.redeem(auth, code).status_code == 400


REFRESHABLE = {
    "requested": ((), "openid offline_access", True),
    "not requested": ((), "openid", False),
    "always": (("--refresh-token", "always"), "openid", True),
    "never": (("--refresh-token", "never"), "openid offline_access", False),
}


@pytest.mark.parametrize("public", [True, False], ids=["public", "confidential"])
@pytest.mark.parametrize(("options", "scope", "expected"), REFRESHABLE.values(), ids=REFRESHABLE)
def test_client_setting_and_scope_decide_whether_a_refresh_token_is_issued(
    options: tuple[str, ...], scope: str, expected: bool, public: bool, auth: FlaskClient
) -> None:
    application = add_application(auth, "app", *options, *(["--public"] if public else []))
    sign_in(auth)

    tokens = get_tokens(auth, application, scope=scope)

    assert ("refresh_token" in tokens) == expected
    if expected:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        form |= {"client_id": "app"} if public else {}
        renewed = auth.post("/token", data=form, auth=application.credentials)
        assert renewed.json
        old, new = read_claims(tokens["id_token"]), read_claims(renewed.json["id_token"])
        for name in ("iss", "sub", "aud", "auth_time", "sid"):
            assert old[name] == new[name], "OpenID Connect Core section 12.2"
        assert "nonce" not in new


LOOPBACK = {
    "another port": ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", True),
    "no port": ("http://127.0.0.1:8000/cb", "http://127.0.0.1/cb", True),
    "IPv6": ("http://[::1]/cb", "http://[::1]:51004/cb", True),
    "another path": ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", False),
    "another host": ("http://127.0.0.1/cb", "http://127.0.0.2/cb", False),
    "localhost for the address": ("http://127.0.0.1/cb", "http://localhost/cb", False),
    "another port of localhost": ("http://localhost:3000/cb", "http://localhost:3001/cb", False),
    "user information": ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example.com/cb", False),
    "longer host name": ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example.com/cb", False),
    "private scheme": ("com.example.app:/cb", "com.example.app:/cb", True),
}


@pytest.mark.parametrize(("registered", "asked", "is_good"), LOOPBACK.values(), ids=LOOPBACK)
def test_only_the_port_of_a_loopback_redirect_uri_may_differ(
    registered: str, asked: str, is_good: bool, auth: FlaskClient
) -> None:
    application = add_application(auth, "native", "--public", redirect_uri=registered)
    sign_in(auth)

    response = auth.get(application.url(redirect_uri=asked))

    assert (response.status_code == 303) == is_good
    assert not is_good or response.location.startswith(asked)


def test_user_who_must_change_the_password_does_so_before_getting_a_code(
    auth: FlaskClient, web: Application
) -> None:
    run_command(auth, "users", "set-password", "student1", "--must-change", stdin="temporary password")
    response = submit_sign_in(auth, auth.get(web.url()), "student1", "temporary password")
    assert answer_of(auth.get(web.url(prompt="none")))["error"] == "interaction_required"

    page = auth.get(response.location)
    form = {"current_password": "temporary password", "new_password": "a better password"}
    changed = auth.post(
        "/account/password", data={**fields_of(page), **form, "repeated_password": "a better password"}
    )

    assert "code" in answer_of(auth.get(changed.location))
    assert not find_user(auth, "student1").must_change_password


def test_sign_in_ends_another_users_session_in_the_same_browser(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    tokens = get_tokens(auth, web)

    sign_in(auth, "teacher1", web.url(prompt="login"))

    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert auth.get("/userinfo", headers=headers).status_code == 401


def test_each_sign_in_sets_a_new_cookie_and_only_its_hash_is_stored(
    auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)
    first = auth.get_cookie("auth_session")
    sign_in(auth, "student1", web.url(prompt="login"))
    second = auth.get_cookie("auth_session")

    assert first
    assert second
    assert first.value != second.value
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        (row,) = session.scalars(sa.select(BrowserSession)).all()
        assert second.value not in str(vars(row))
    old = new_browser(auth)
    old.set_cookie("auth_session", first.value)
    assert answer_of(old.get(web.url(prompt="none")))["error"] == "login_required"


TIMES = {
    "idle": {"last_used_at": int(time.time()) - 12 * 3600 - 1},
    "absolute": {"expires_at": int(time.time())},
}


@pytest.mark.parametrize("values", TIMES.values(), ids=TIMES)
def test_sign_in_has_an_idle_and_an_absolute_timeout(
    values: dict[str, int], auth: FlaskClient, web: Application
) -> None:
    sign_in(auth)

    change_row(auth, sa.update(BrowserSession).values(**values))

    assert answer_of(auth.get(web.url(prompt="none")))["error"] == "login_required"


def test_use_extends_the_idle_timeout(auth: FlaskClient, web: Application) -> None:
    sign_in(auth)
    change_row(auth, sa.update(BrowserSession).values(last_used_at=int(time.time()) - 3600))

    get_code(auth, web)

    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert session.scalar(sa.select(BrowserSession.last_used_at)) == pytest.approx(time.time(), abs=5)


def test_tokens_omit_the_scopes_of_a_role_lost_since_the_sign_in(auth: FlaskClient) -> None:
    application = add_application(auth, "app", "--scope", "courses:write")
    sign_in(auth, "teacher1")
    code = get_code(auth, application, scope="openid courses:write courses:read")
    change_row(auth, sa.update(User).where(User.username == "teacher1").values(roles=["student"]))

    tokens = application.redeem(auth, code).json

    assert tokens
    assert tokens["scope"] == "courses:read openid"
