"""`/logout` ends the sessions of a sign-in, only for those who may, and redirects only to the client."""

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


def ask(browser: FlaskClient, **parameters: str) -> TestResponse:
    return browser.get(f"/logout?{urlencode(parameters)}")


def is_signed_in(browser: FlaskClient) -> bool:
    return browser.get("/login").status_code == 303


def works(client: FlaskClient, tokens: Tokens) -> bool:
    """Return whether the issuer accepts the access token of a login."""
    status = client.get("/userinfo", headers=bearer(tokens["access_token"])).status_code
    assert status in {200, 401}
    return status == 200


def asks_first(page: TestResponse) -> bool:
    return page.status_code == 200 and "Do you want to sign out?" in page.text


def sign_hint(
    forger: Forger,
    tokens: Tokens,
    header: dict[str, Any] | None = None,
    signer: Signer | None = None,
    /,
    **changes: Any,
) -> str:
    """Sign the ID token of a login anew, with changes."""
    claims = dict.fromkeys(("scope", "client_id", "jti"), ABSENT) | read_claims(tokens["id_token"])
    return forger.sign({"typ": "JWT", **(header or {})}, signer, **claims | changes)


# What proves that an application is the user's

Changes = dict[str, Any]
PROOFS: dict[str, Changes] = {"signed anew": {}, "expired long ago": {"exp": 1, "iat": 0}}
# By name: what is changed in the header and in the claims of a good one.
NO_PROOFS: dict[str, tuple[Changes, Changes]] = {
    "of an unknown key": ({"kid": "x"}, {}),
    "without a key": ({"kid": ABSENT}, {}),
    "of another algorithm": ({"alg": "RS512"}, {}),
    "with an extension": ({"crit": ["exp"]}, {}),
    "typ of an access token": ({"typ": "at+jwt"}, {}),
    "typ of a logout token": ({"typ": "logout+jwt"}, {}),
    "typ of a status list": ({"typ": "statuslist+jwt"}, {}),
    "without a typ": ({"typ": ABSENT}, {}),
    "of another issuer": ({}, {"iss": "https://evil.example.com"}),
    "without an issuer": ({}, {"iss": ABSENT}),
    "without a login": ({}, {"sid": ABSENT}),
    "without a subject": ({}, {"sub": ABSENT}),
    "without an audience": ({}, {"aud": ABSENT}),
    "for a list": ({}, {"aud": ["web", "other"]}),
    "too long": ({}, {"padding": "x" * 20_000}),
}
NO_ID_TOKENS = {
    "garbage": "x",
    "three parts": "a.b.c",
    "access token": "{access_token}",
    "refresh token": "{refresh_token}",
    "cut off": "{id_token:.300}",
    "with another signature": "{id_token:.300}.AAAA",
}


def test_id_token_signs_out_at_once(auth: FlaskClient, tokens: Tokens) -> None:
    check_signed_out(auth, tokens, tokens["id_token"])


@pytest.mark.parametrize("changes", PROOFS.values(), ids=PROOFS)
def test_old_id_token_signs_out_too(
    changes: Changes, auth: FlaskClient, tokens: Tokens, forger: Forger
) -> None:
    check_signed_out(auth, tokens, sign_hint(forger, tokens, **changes))


def check_signed_out(browser: FlaskClient, tokens: Tokens, hint: str) -> None:
    response = ask(browser, id_token_hint=hint)

    assert (response.status_code, response.location) == (303, "/signed-out")
    assert "auth_session=;" in response.headers["Set-Cookie"]
    assert not is_signed_in(browser)
    assert not works(browser, tokens)


@pytest.mark.parametrize(("header", "changes"), NO_PROOFS.values(), ids=NO_PROOFS)
def test_token_that_is_no_id_token_of_ours_proves_nothing(
    header: Changes, changes: Changes, auth: FlaskClient, tokens: Tokens, forger: Forger
) -> None:
    check_proves_nothing(auth, tokens, sign_hint(forger, tokens, header, **changes))


@pytest.mark.parametrize("text", NO_ID_TOKENS.values(), ids=NO_ID_TOKENS)
def test_what_is_no_id_token_proves_nothing(text: str, auth: FlaskClient, tokens: Tokens) -> None:
    check_proves_nothing(auth, tokens, text.format(**tokens))


def test_id_token_with_another_signature_proves_nothing(
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
        check_proves_nothing(auth, tokens, hint)


def check_proves_nothing(browser: FlaskClient, tokens: Tokens, hint: str) -> None:
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": GOODBYE, "client_id": "web"}
    page, elsewhere = ask(browser, **asked), ask(new_browser(browser), **asked)

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "Do you want to sign out?" in page.text
    assert elsewhere.location == "/signed-out", "nobody is sent back by what proves nothing"
    assert is_signed_in(browser)
    assert works(browser, tokens)


def test_id_token_of_another_client_than_the_one_named_is_refused(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    add_application(auth, "other", "--post-logout-redirect-uri", GOODBYE)

    page = ask(auth, id_token_hint=tokens["id_token"], client_id="other", post_logout_redirect_uri=GOODBYE)

    assert page.status_code == 400
    assert works(auth, tokens)


def test_id_token_of_another_user_proves_nothing_about_this_one(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    other = new_browser(auth)
    sign_in(other, "teacher1")
    own = get_tokens(other, web, scope=ALL)

    page = ask(other, id_token_hint=tokens["id_token"])

    assert asks_first(page)
    assert "teacher1" in page.text
    assert is_signed_in(other)
    assert works(auth, own)
    assert works(auth, tokens)


def test_id_token_of_another_client_ends_no_login_of_a_third(
    auth: FlaskClient, tokens: Tokens, web: Application, forger: Forger
) -> None:
    """Were there one whose `sid` is another client's login."""
    hint = sign_hint(forger, tokens, aud="other")

    ask(new_browser(auth), id_token_hint=hint)

    assert works(auth, tokens)


def test_id_token_ends_its_login_without_a_cookie_too(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    """As from an application whose user has closed the browser since. Other logins are not its business."""
    other = add_application(auth, "other")
    others = get_tokens(auth, other, scope=ALL)

    response = ask(
        new_browser(auth), id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE, state="x"
    )

    assert response.location == f"{GOODBYE}?state=x"
    assert not works(auth, tokens)
    assert not refreshes(auth, web, tokens)
    assert works(auth, others)
    assert is_signed_in(auth)


def test_signing_out_twice_is_no_error(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    for _ in range(2):
        response = ask(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

        assert response.location == GOODBYE


def test_id_token_of_a_user_who_is_gone_is_no_error(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    assert run_command(auth, "users", "delete", "student1").exit_code == 0

    response = ask(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

    assert response.location == GOODBYE


# Asking first


def test_nobody_is_signed_out_without_being_asked(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    for asked in ({}, {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "a state"}):
        page = ask(auth, **asked)

        assert asks_first(page)
        members = fields_of(page)
        assert members.pop("form_token")
        assert members == asked
    assert is_signed_in(auth)
    assert works(auth, tokens)


@pytest.mark.parametrize("with_return", [True, False], ids=["with a return", "without"])
def test_answer_to_the_question_signs_out(
    with_return: bool, auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    asked = {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "a&b=c"} if with_return else {}

    response = auth.post("/logout", data=fields_of(ask(auth, **asked)))

    assert response.location == (f"{GOODBYE}?state=a%26b%3Dc" if with_return else "/signed-out")
    assert not is_signed_in(auth)
    assert not works(auth, tokens)


FORGED = {"none": {}, "empty": {"form_token": ""}, "made up": {"form_token": "0" * 64}}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_form_of_another_site_goes_on_as_a_question(
    forged: dict[str, str], auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    """The cookie does not come with it; and if it does, it is still no proof."""
    asked = {"client_id": "web", "post_logout_redirect_uri": GOODBYE, "state": "ä&b"}
    for browser in (auth, new_browser(auth)):
        response = browser.post("/logout", data=asked | forged)

        assert response.status_code == 303
        parts = urlsplit(response.location)
        assert (parts.netloc, parts.path) == ("", "/logout")
        assert dict(parse_qsl(parts.query)) == asked
        assert "auth_session" not in response.headers.get("Set-Cookie", "")
    assert asks_first(auth.get(response.location))


def test_form_of_an_application_with_proof_signs_out(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    form = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": GOODBYE}
    forwarded = new_browser(auth).post("/logout", data=form)

    assert auth.get(forwarded.location).location == GOODBYE
    assert not is_signed_in(auth)


def test_form_token_of_another_browser_is_no_answer(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    other = new_browser(auth)
    sign_in(other)

    auth.post("/logout", data={"form_token": fields_of(other.get("/logout"))["form_token"]})

    assert is_signed_in(auth)


# Where the browser goes then

RETURNS: dict[str, tuple[dict[str, str], bool]] = {
    "registered": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE}, True),
    "without a client": ({"post_logout_redirect_uri": GOODBYE}, False),
    "of an unknown client": ({"client_id": "nobody", "post_logout_redirect_uri": GOODBYE}, False),
    "of a client with a NUL": ({"client_id": "web\0", "post_logout_redirect_uri": GOODBYE}, False),
    "of another client": ({"client_id": "other", "post_logout_redirect_uri": GOODBYE}, False),
    "of the sign-in": ({"client_id": "web", "post_logout_redirect_uri": CALLBACK}, False),
    "with a suffix": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "/more"}, False),
    "with a query": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "?a"}, False),
    "with a fragment": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE + "#a"}, False),
    "in capitals": ({"client_id": "web", "post_logout_redirect_uri": GOODBYE.upper()}, False),
    "elsewhere": ({"client_id": "web", "post_logout_redirect_uri": "https://evil.example.com"}, False),
    "without a scheme": ({"client_id": "web", "post_logout_redirect_uri": "//web.example.com"}, False),
    "of this server": ({"client_id": "web", "post_logout_redirect_uri": "/account"}, False),
    "script": ({"client_id": "web", "post_logout_redirect_uri": "javascript:alert(1)"}, False),
}


@pytest.mark.parametrize(("asked", "is_good"), RETURNS.values(), ids=RETURNS)
def test_browser_goes_only_where_the_client_has_registered(
    asked: dict[str, str], is_good: bool, auth: FlaskClient, web: Application
) -> None:
    add_application(auth, "other")
    anonymous = ask(auth, **asked)
    sign_in(auth)
    page = ask(auth, **asked)
    answered = auth.post("/logout", data={"form_token": fields_of(auth.get("/logout"))["form_token"]} | asked)

    if is_good:
        assert anonymous.location == answered.location == GOODBYE
        assert asks_first(page)
        return
    for response in (anonymous, page, answered):
        assert (response.status_code, response.mimetype) == (400, "text/html")
        assert "Location" not in response.headers
    assert is_signed_in(auth)


def test_client_that_was_removed_gets_nobody_back(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    assert run_command(auth, "clients", "remove", "web").exit_code == 0

    page = ask(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)

    assert page.status_code == 400


STATES = ["x", "a b", "a&b=c", "ä", "\r\nSet-Cookie: a=b", '"><script>', "x" * 2000]


@pytest.mark.parametrize("state", STATES)
def test_state_comes_back_as_it_was(state: str, auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    response = ask(auth, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE, state=state)

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


# What ends


def test_everything_that_came_of_the_browser_ends_and_nothing_else(
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


def test_login_that_was_refreshed_ends_too(auth: FlaskClient, tokens: Tokens, web: Application) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    renewed = auth.post("/token", data=form, auth=web.credentials).get_json()

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not works(auth, renewed)
    assert not refreshes(auth, web, renewed)


def test_login_from_before_a_second_sign_in_of_the_same_user_ends_too(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    sign_in(auth, path=web.url(prompt="login"))

    auth.post("/logout", data=fields_of(auth.get("/logout")))

    assert not works(auth, tokens)


def test_application_has_to_ask_for_the_password_afterwards(
    auth: FlaskClient, tokens: Tokens, web: Application
) -> None:
    ask(auth, id_token_hint=tokens["id_token"])

    page = auth.get(web.url())

    assert page.status_code == 200
    assert 'autocomplete="current-password"' in page.text
    assert 'value="student1"' not in page.text


def test_id_token_says_which_issuer_and_when(tokens: Tokens) -> None:
    """A control: the hints above differ from a good one by what their names say."""
    claims = read_claims(tokens["id_token"])

    assert claims["iss"] == ISSUER
    assert claims["exp"] > time.time()
