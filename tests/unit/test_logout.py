"""`/logout` ends the sessions of a sign-in, only with proof or consent, and redirects only to the client."""

import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import KeyPair, bearer, both_databases, log_in, read_claims, run_command
from tests.forger import ABSENT, ISSUER, Forger, Signer, hs256, ps256
from tests.sign_in import (
    CALLBACK,
    Application,
    add_application,
    fields_of,
    get_tokens,
    new_browser,
    refreshes,
    sign_in,
)
from tests.unit.test_status_lists import status_of

pytestmark = both_databases

GOODBYE = "https://web.example.com/goodbye"
ALL = "openid offline_access courses:read"

Tokens = dict[str, Any]


@pytest.fixture
def web(auth: FlaskClient) -> Application:
    return add_application(auth, "web", "--post-logout-redirect-uri", GOODBYE)


@pytest.fixture
def tokens(auth: FlaskClient, web: Application) -> Tokens:
    """The tokens of student1, who is signed in."""
    sign_in(auth)
    return get_tokens(auth, web, scope=ALL)


def get_logout(browser: FlaskClient, **parameters: str) -> TestResponse:
    return browser.get(f"/logout?{urlencode(parameters)}")


def is_signed_in(browser: FlaskClient) -> bool:
    return browser.get("/login").status_code == 303


def works(client: FlaskClient, tokens: Tokens) -> bool:
    """Return whether the issuer still accepts the access token."""
    status = client.get("/userinfo", headers=bearer(tokens["access_token"])).status_code
    assert status in {200, 401}
    return status == 200


def asks_for_confirmation(page: TestResponse) -> bool:
    return page.status_code == 200 and "Do you want to sign out?" in page.text


def sign_hint(
    forger: Forger,
    tokens: Tokens,
    header: dict[str, Any] | None = None,
    signer: Signer | None = None,
    /,
    **changes: Any,
) -> str:
    """Sign the session's ID token again, with changes."""
    claims = dict.fromkeys(("scope", "client_id", "jti"), ABSENT) | read_claims(tokens["id_token"])
    return forger.sign({"typ": "JWT", **(header or {})}, signer, **claims | changes)


# Which hints prove that a request comes from the user's application

Changes = dict[str, Any]
VALID_HINTS: dict[str, Changes] = {"signed again": {}, "expired long ago": {"exp": 1, "iat": 0}}
# By name: changes to the header and to the claims of a valid hint.
INVALID_HINTS: dict[str, tuple[Changes, Changes]] = {
    "unknown key": ({"kid": "x"}, {}),
    "no kid": ({"kid": ABSENT}, {}),
    "another algorithm": ({"alg": "RS512"}, {}),
    "critical extension": ({"crit": ["exp"]}, {}),
    "typ of an access token": ({"typ": "at+jwt"}, {}),
    "typ of a logout token": ({"typ": "logout+jwt"}, {}),
    "typ of a status list": ({"typ": "statuslist+jwt"}, {}),
    "no typ": ({"typ": ABSENT}, {}),
    "another issuer": ({}, {"iss": "https://evil.example.com"}),
    "no issuer": ({}, {"iss": ABSENT}),
    "no session ID": ({}, {"sid": ABSENT}),
    "no subject": ({}, {"sub": ABSENT}),
    "no audience": ({}, {"aud": ABSENT}),
    "audience is a list": ({}, {"aud": ["web", "other"]}),
    "too long": ({}, {"padding": "x" * 20_000}),
}
NOT_ID_TOKENS = {
    "garbage": "x",
    "three parts": "a.b.c",
    "access token": "{access_token}",
    "refresh token": "{refresh_token}",
    "truncated": "{id_token:.300}",
    "another signature": "{id_token:.300}.AAAA",
}


def test_id_token_signs_out_without_confirmation(auth: FlaskClient, tokens: Tokens) -> None:
    check_signed_out(auth, tokens, tokens["id_token"])


@pytest.mark.parametrize("changes", VALID_HINTS.values(), ids=VALID_HINTS)
def test_id_token_signs_out_even_if_expired(
    changes: Changes, auth: FlaskClient, tokens: Tokens, forger: Forger
) -> None:
    check_signed_out(auth, tokens, sign_hint(forger, tokens, **changes))


def check_signed_out(browser: FlaskClient, tokens: Tokens, hint: str) -> None:
    response = get_logout(browser, id_token_hint=hint)

    assert (response.status_code, response.location) == (303, "/signed-out")
    assert "auth_session=;" in response.headers["Set-Cookie"]
    assert not is_signed_in(browser)
    assert not works(browser, tokens)


@pytest.mark.parametrize(("header", "changes"), INVALID_HINTS.values(), ids=INVALID_HINTS)
def test_token_that_is_not_our_id_token_is_not_accepted_as_hint(
    header: Changes, changes: Changes, auth: FlaskClient, tokens: Tokens, forger: Forger
) -> None:
    check_not_accepted_as_hint(auth, tokens, sign_hint(forger, tokens, header, **changes))


@pytest.mark.parametrize("text", NOT_ID_TOKENS.values(), ids=NOT_ID_TOKENS)
def test_string_that_is_not_an_id_token_is_not_accepted_as_hint(
    text: str, auth: FlaskClient, tokens: Tokens
) -> None:
    check_not_accepted_as_hint(auth, tokens, text.format(**tokens))


def test_id_token_with_an_invalid_signature_is_not_accepted_as_hint(
    auth: FlaskClient, tokens: Tokens, forger: Forger, attacker: Forger, key_pair: KeyPair
) -> None:
    public = key_pair.public_file.read_bytes()
    for hint in (
        sign_hint(attacker, tokens),
        sign_hint(forger, tokens, {}, ps256(forger.key)),
        sign_hint(forger, tokens, {"alg": "PS256"}, ps256(forger.key)),
        sign_hint(forger, tokens, {"alg": "HS256"}, hs256(public)),
        sign_hint(forger, tokens, {"alg": "none"}, lambda _: b""),
        sign_hint(forger, tokens, {"alg": "none"}, lambda _: b"x"),
    ):
        check_not_accepted_as_hint(auth, tokens, hint)


def check_not_accepted_as_hint(browser: FlaskClient, tokens: Tokens, hint: str) -> None:
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": GOODBYE, "client_id": "web"}
    page, elsewhere = get_logout(browser, **asked), get_logout(new_browser(browser), **asked)

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "Do you want to sign out?" in page.text
    assert elsewhere.location == "/signed-out", "an invalid hint gets no redirect to the client"
    assert is_signed_in(browser)
    assert works(browser, tokens)


def test_id_token_hint_must_match_the_client_id(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    add_application(auth, "other", "--post-logout-redirect-uri", GOODBYE)

    page = get_logout(
        auth, id_token_hint=tokens["id_token"], client_id="other", post_logout_redirect_uri=GOODBYE
    )

    assert page.status_code == 400
    assert works(auth, tokens)


def test_id_token_of_another_user_requires_confirmation(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    other = new_browser(auth)
    sign_in(other, "teacher1")
    own = get_tokens(other, web, scope=ALL)

    page = get_logout(other, id_token_hint=tokens["id_token"])

    assert asks_for_confirmation(page)
    assert "teacher1" in page.text
    assert is_signed_in(other)
    assert works(auth, own)
    assert works(auth, tokens)


def test_id_token_issued_to_another_client_does_not_end_the_session(
    auth: FlaskClient, tokens: Tokens, web: Application, forger: Forger
) -> None:
    """The `sid` of an ID token must be a session of the client in its `aud`."""
    hint = sign_hint(forger, tokens, aud="other")

    get_logout(new_browser(auth), id_token_hint=hint)

    assert works(auth, tokens)


def test_id_token_ends_its_session_without_a_cookie(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    """The user may have closed the browser in the meantime. Sessions of other applications are kept."""
    other = add_application(auth, "other")
    others = get_tokens(auth, other, scope=ALL)

    response = get_logout(
        new_browser(auth), id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE, state="x"
    )

    assert response.location == f"{GOODBYE}?state=x"
    assert not works(auth, tokens)
    assert not refreshes(auth, web, tokens)
    assert works(auth, others)
    assert is_signed_in(auth)


def test_signing_out_twice_is_not_an_error(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    for _ in range(2):
        response = get_logout(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

        assert response.location == GOODBYE


def test_id_token_of_a_deleted_user_still_redirects_to_the_client(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    assert run_command(auth, "users", "delete", "student1").exit_code == 0

    response = get_logout(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

    assert response.location == GOODBYE


# Confirmation


def test_logout_without_a_hint_asks_for_confirmation(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    for asked in ({}, {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "a state"}):
        page = get_logout(auth, **asked)

        assert asks_for_confirmation(page)
        members = fields_of(page)
        assert members.pop("form_token")
        assert members == asked
    assert is_signed_in(auth)
    assert works(auth, tokens)


@pytest.mark.parametrize("with_return", [True, False], ids=["with a redirect URI", "without a redirect URI"])
def test_confirmation_signs_out(
    with_return: bool, auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    asked = {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "a&b=c"} if with_return else {}

    response = auth.post("/logout", data=fields_of(get_logout(auth, **asked)))

    assert response.location == (f"{GOODBYE}?state=a%26b%3Dc" if with_return else "/signed-out")
    assert not is_signed_in(auth)
    assert not works(auth, tokens)


FORGED = {"none": {}, "empty": {"form_token": ""}, "made up": {"form_token": "0" * 64}}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_form_from_another_site_is_redirected_to_the_confirmation_page(
    forged: dict[str, str], auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    """Browsers do not send the cookie with it, and even the cookie would not be proof."""
    asked = {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "ä&b"}
    for browser in (auth, new_browser(auth)):
        response = browser.post("/logout", data=asked | forged)

        assert response.status_code == 303
        parts = urlsplit(response.location)
        assert (parts.netloc, parts.path) == ("", "/logout")
        assert dict(parse_qsl(parts.query)) == asked
        assert "auth_session" not in response.headers.get("Set-Cookie", "")
    assert asks_for_confirmation(auth.get(response.location))


def test_form_from_an_application_with_an_id_token_signs_out(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    form = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": GOODBYE}
    forwarded = new_browser(auth).post("/logout", data=form)

    assert auth.get(forwarded.location).location == GOODBYE
    assert not is_signed_in(auth)


def test_form_token_of_another_browser_does_not_sign_out(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    other = new_browser(auth)
    sign_in(other)

    auth.post("/logout", data={"form_token": fields_of(other.get("/logout"))["form_token"]})

    assert is_signed_in(auth)


# Where the browser is redirected

RETURNS: dict[str, tuple[dict[str, str], bool]] = {
    "registered": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE}, True),
    "no client": ({"post_logout_redirect_uri": GOODBYE}, False),
    "unknown client": ({"client_id": "nobody", "post_logout_redirect_uri": GOODBYE}, False),
    "client ID with a NUL": ({"client_id": "web\0", "post_logout_redirect_uri": GOODBYE}, False),
    "another client": ({"client_id": "other", "post_logout_redirect_uri": GOODBYE}, False),
    "redirect URI of the sign-in": ({"client_id": "web", "post_logout_redirect_uri": CALLBACK}, False),
    "with a suffix": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "/more"}, False),
    "with a query": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "?a"}, False),
    "with a fragment": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "#a"}, False),
    "upper case": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE.upper()}, False),
    "another host": ({"client_id": "web", "post_logout_redirect_uri": "https://evil.example.com"}, False),
    "without a scheme": ({"client_id": "web", "post_logout_redirect_uri": "//web.example.com"}, False),
    "path on this server": ({"client_id": "web", "post_logout_redirect_uri": "/account"}, False),
    "javascript": ({"client_id": "web", "post_logout_redirect_uri": "javascript:alert(1)"}, False),
}


@pytest.mark.parametrize(("asked", "is_good"), RETURNS.values(), ids=RETURNS)
def test_browser_is_redirected_only_to_a_uri_that_the_client_registered(
    asked: dict[str, str], is_good: bool, auth: FlaskClient, web: Application
) -> None:
    add_application(auth, "other")
    anonymous = get_logout(auth, **asked)
    sign_in(auth)
    page = get_logout(auth, **asked)
    answered = auth.post("/logout", data={"form_token": fields_of(auth.get("/logout"))["form_token"]} | asked)

    if is_good:
        assert anonymous.location == answered.location == GOODBYE
        assert asks_for_confirmation(page)
        return
    for response in (anonymous, page, answered):
        assert (response.status_code, response.mimetype) == (400, "text/html")
        assert "Location" not in response.headers
    assert is_signed_in(auth)


def test_removed_client_gets_no_redirect(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    assert run_command(auth, "clients", "remove", "web").exit_code == 0

    page = get_logout(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

    assert page.status_code == 400


STATES = ["x", "a b", "a&b=c", "ä", "\r\nSet-Cookie: a=b", '"><script>', "x" * 2000]


@pytest.mark.parametrize("state", STATES)
def test_state_is_returned_unchanged(state: str, auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    response = get_logout(
        auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE, state=state
    )

    assert parse_qsl(urlsplit(response.location).query) == [("state", state)]
    assert response.location.startswith(f"{GOODBYE}?")


@pytest.mark.parametrize(
    "query",
    ["client_id=web&client_id=web", "state=a&state=b", "id_token_hint=a&id_token_hint=b", "state=%ff"],
)
def test_malformed_request_is_refused(query: str, auth: FlaskClient, web: Application) -> None:
    sign_in(auth)

    assert auth.get(f"/logout?{query}").status_code == 400
    body = f"{query}&form_token={fields_of(auth.get('/logout'))['form_token']}"
    response = auth.post("/logout", data=body, content_type="application/x-www-form-urlencoded")
    assert response.status_code == 400
    assert is_signed_in(auth)


# Which sessions end


def test_logout_ends_all_sessions_started_in_the_browser_and_no_others(
    auth: FlaskClient, tokens: Tokens, web: Application, key_pair: KeyPair
) -> None:
    spa = add_application(auth, "spa", "--public")
    in_browser = [(web, tokens), (spa, get_tokens(auth, spa, scope=ALL))]
    phone = new_browser(auth)
    sign_in(phone)
    teacher = new_browser(auth)
    sign_in(teacher, "teacher1")
    elsewhere = [
        (web, get_tokens(phone, web, scope=ALL)),
        (web, get_tokens(teacher, web, scope=ALL)),
    ]
    by_password = log_in(auth)

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    for application, answer in in_browser:
        assert not works(auth, answer)
        assert status_of(auth, key_pair, answer) == 1
        form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        form |= {} if application.secret else {"client_id": application.id}
        refused = auth.post("/token", data=form, auth=application.credentials)
        assert (refused.status_code, refused.get_json()["error"]) == (400, "invalid_grant")
    for application, answer in elsewhere:
        assert works(auth, answer)
        assert status_of(auth, key_pair, answer) == 0
        assert refreshes(auth, application, answer)
    assert status_of(auth, key_pair, by_password) == 0
    assert auth.get("/users/me", headers=bearer(by_password["access_token"])).status_code == 200
    assert is_signed_in(phone)
    assert is_signed_in(teacher)


def test_logout_ends_refreshed_sessions_too(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    renewed = auth.post("/token", data=form, auth=web.credentials).get_json()

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not works(auth, renewed)
    assert not refreshes(auth, web, renewed)


def test_logout_ends_sessions_from_before_the_user_signed_in_again(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    sign_in(auth, path=web.url(prompt="login"))

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not works(auth, tokens)


def test_signing_in_after_logout_requires_the_password(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    get_logout(auth, id_token_hint=tokens["id_token"])

    page = auth.get(web.url())

    assert page.status_code == 200
    assert 'autocomplete="current-password"' in page.text
    assert 'value="student1"' not in page.text


def test_id_token_has_the_issuer_and_has_not_expired(tokens: Tokens) -> None:
    """A control: the ID token is valid, so that each invalid hint differs from it only as its ID says."""
    claims = read_claims(tokens["id_token"])

    assert claims["iss"] == ISSUER
    assert claims["exp"] > time.time()
