"""The sign-in page: every failure gets the same response, and other sites are not trusted."""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import BrowserSession
from tests.conftest import KeyPair, both_databases, change_row, open_auth, run_command
from tests.sign_in import (
    add_application,
    answer_of,
    fields_of,
    new_browser,
    sign_in,
    submit_sign_in,
)

SAME_SENTENCE = "Incorrect user name or password."


def is_signed_in(browser: FlaskClient) -> bool:
    return browser.get("/login").status_code == 303


def without_echo(page: TestResponse) -> str:
    """Return a page without the typed values, and without the autofocus that depends on them."""
    text = re.sub(r' value="[^"]*"(?=[^>]*aria-invalid)', "", page.text)
    return text.replace(" autofocus", "")


FAILURES = {
    "unknown user": ("nobody", "password123"),
    "wrong password": ("student1", "password124"),
    "password of another user": ("student1", "password456"),
    "password with a space": ("student1", "password123 "),
    "disabled user": ("teacher1", "password456"),
    "deleted user": ("admin1", "password789"),
    "name of a deleted user's row": ("deleted:{}", "password789"),
    "empty name": ("", "password123"),
    "empty password": ("student1", ""),
    "empty name and password": ("", ""),
    "long name": ("x" * 129, "password123"),
    "known name padded beyond the limit": ("student1" + " " * 121, "password123"),
    "long password": ("student1", "x" * 1025),
    "NUL in the name": ("student1\0", "password123"),
    "NUL in the password": ("student1", "password123\0"),
    "line break in the name": ("student1\r\n", "password123"),
    "markup": ("<b>student1</b>", "password123"),
    "wildcards": ("student%", "password123"),
}


@both_databases
def test_every_failure_gets_the_same_response(auth: FlaskClient) -> None:
    assert run_command(auth, "users", "disable", "teacher1").exit_code == 0
    assert run_command(auth, "users", "delete", "admin1").exit_code == 0
    answers = {}
    for name, (username, password) in FAILURES.items():
        browser = new_browser(auth)
        page = submit_sign_in(browser, browser.get("/login"), username, password)
        token = fields_of(page)["form_token"]
        answers[name] = (page.status_code, without_echo(page).replace(token, ""), sorted(page.headers.keys()))
        assert not is_signed_in(browser), name

    expected = answers["wrong password"]
    assert expected[0] == 400
    assert SAME_SENTENCE in expected[1]
    assert {name for name, answer in answers.items() if answer != expected} == set()


@both_databases
def test_user_name_may_be_capitalised_and_padded_as_phones_do(auth: FlaskClient) -> None:
    response = submit_sign_in(auth, auth.get("/login"), "Student1 ", "password123")

    assert response.status_code == 303
    assert is_signed_in(auth)


# Forms that do not come from a current page of ours in this browser


def token_of(browser: FlaskClient) -> str:
    return fields_of(browser.get("/login"))["form_token"]


def cookie_of(browser: FlaskClient) -> str:
    browser.get("/login")
    cookie = browser.get_cookie("auth_browser")
    assert cookie
    return cookie.value


FORGED: dict[str, Callable[[FlaskClient], str]] = {
    "no token": lambda _: "",
    "made up": lambda _: "0" * 64,
    "not ASCII": lambda _: "ü" * 32,
    "from the attacker's browser": lambda browser: token_of(new_browser(browser)),
    "longer": lambda browser: token_of(browser) + "0",
    "shorter": lambda browser: token_of(browser)[:-1],
    "in capitals": lambda browser: token_of(browser).upper(),
    "the cookie itself": cookie_of,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_form_from_another_site_cannot_sign_in(
    forge: Callable[[FlaskClient], str], auth: FlaskClient
) -> None:
    """Neither as the browser's user nor, with an attacker's name and password, as the attacker."""
    auth.get("/login")
    token = forge(auth)
    form = {"username": "student1", "password": "password123"} | ({"form_token": token} if token else {})

    page = auth.post("/login", data=form)

    assert page.status_code == 400
    assert "This page has expired" in page.text
    assert not is_signed_in(auth)
    assert fields_of(page)["form_token"] == token_of(auth), "a second try works"


def test_form_needs_the_cookie_of_its_browser(auth: FlaskClient) -> None:
    form = {**fields_of(auth.get("/login")), "username": "student1", "password": "password123"}

    assert new_browser(auth).post("/login", data=form).status_code == 400


@both_databases
def test_form_from_an_earlier_session_in_the_same_browser_is_refused(auth: FlaskClient) -> None:
    """Otherwise a page left open while another user signed in would act on their behalf."""
    sign_in(auth)
    stale = fields_of(auth.get("/account/password"))["form_token"]
    auth.post("/logout", data=fields_of(auth.get("/logout")))
    sign_in(auth, "teacher1")

    passwords = {"current_password": "password456", "new_password": "a good password"}
    form = {"form_token": stale, **passwords, "repeated_password": "a good password"}
    assert "This page has expired" in auth.post("/account/password", data=form).text
    auth.post("/account/end", data={"form_token": stale, "others": "1"})
    auth.post("/logout", data={"form_token": stale})

    assert is_signed_in(auth)
    browser = new_browser(auth)
    sign_in(browser, "teacher1")


def test_form_from_before_the_sign_in_has_no_effect_afterwards(auth: FlaskClient) -> None:
    stale = token_of(auth)
    sign_in(auth)

    auth.post("/logout", data={"form_token": stale})

    assert is_signed_in(auth)


def test_sign_in_replaces_a_cookie_planted_by_an_attacker(auth: FlaskClient) -> None:
    """Session fixation."""
    auth.set_cookie("auth_session", "A" * 43)
    sign_in(auth)

    cookie = auth.get_cookie("auth_session")

    assert cookie
    assert cookie.value != "A" * 43


MALFORMED_COOKIES = ["", "x", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 5000, "ü" * 43, "A" * 42 + "'"]


@pytest.mark.parametrize("cookie", MALFORMED_COOKIES)
@both_databases
def test_malformed_cookies_are_ignored(cookie: str, auth: FlaskClient) -> None:
    header = {"Cookie": f"auth_session={cookie}; auth_browser={cookie}"}

    page = new_browser(auth).get("/account", headers=header)

    assert page.status_code == 200
    assert "auth_browser=" in page.headers["Set-Cookie"]


# Where a sign-in redirects

ELSEWHERE = [
    "//evil.example.com",
    "///evil.example.com",
    "http://evil.example.com",
    "https:evil.example.com",
    "/\\evil.example.com",
    "\\\\evil.example.com",
    "javascript:alert(1)",
    "data:text/html,x",
    "",
    "account",
    "/",
    "/docs",
    "/logout",
    "/login",
    "/account/",
    "/account/../logout",
    "/account//evil.example.com",
    "/account?done=password_changed",
    "/account\n",
    "/account\0",
    "/authorize",
    "/authorize/../logout?x",
    "/authorize?x\r\nSet-Cookie: a=b",
    "/authorize?x y",
    "/authorize?\u2028",
    "@evil.example.com",
    "/authorize@evil.example.com?x",
    " /account",
    "/%61ccount",
]
OWN_PAGES = [
    "/account",
    "/authorize?",
    "/authorize?x=%0d%0aSet-Cookie:%20a=b",
    "/authorize?redirect_uri=//evil.example.com",
    "/authorize?x#//evil.example.com",
    "/authorize?\\evil.example.com",
]


@pytest.mark.parametrize("continue_to", [*ELSEWHERE, *OWN_PAGES])
def test_sign_in_redirects_only_to_pages_of_this_server(continue_to: str, auth: FlaskClient) -> None:
    form = {**fields_of(auth.get("/login")), "username": "student1", "password": "password123"}

    response = auth.post("/login", data=form | {"continue": continue_to})

    assert response.status_code == 303
    parts = urlsplit(response.location)
    assert (parts.scheme, parts.netloc) == ("", "")
    assert parts.path == ("/account" if continue_to in ELSEWHERE else continue_to.partition("?")[0])
    assert not re.search(r"[\x00-\x20\\]", response.location)
    assert all("a=b" not in cookie for cookie in response.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize("continue_to", ELSEWHERE)
def test_page_after_a_failed_sign_in_drops_a_disallowed_destination(
    continue_to: str, auth: FlaskClient
) -> None:
    form = {**fields_of(auth.get("/login")), "username": "student1", "password": "wrong"}

    page = auth.post("/login", data=form | {"continue": continue_to})

    assert fields_of(page)["continue"] == "/account"


def test_password_change_redirects_only_to_pages_of_this_server(auth: FlaskClient) -> None:
    sign_in(auth)
    passwords = {"current_password": "password123", "new_password": "a good password"}
    form = {**fields_of(auth.get("/account/password")), **passwords, "repeated_password": "a good password"}

    response = auth.post("/account/password", data=form | {"continue": "//evil.example.com"})

    assert (response.status_code, response.location) == (303, "/account")


# Input is escaped


MARKUP = "\"'><script>alert(1)</script>&amp;"


def test_typed_user_name_is_escaped(auth: FlaskClient) -> None:
    page = submit_sign_in(auth, auth.get("/login"), MARKUP, "wrong")

    assert "<script" not in page.text
    assert f'value="{html.escape(MARKUP).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}"' in page.text


def test_parameters_of_an_application_are_escaped(auth: FlaskClient) -> None:
    name = '<b>"Bob\'s" & Co</b> {application}'
    application = add_application(auth, "app", "--name", name)

    page = auth.get(application.url(state=MARKUP, login_hint=MARKUP, nonce=MARKUP))

    assert "<script" not in page.text
    assert "<b>" not in page.text
    assert name in html.unescape(page.text)
    response = submit_sign_in(auth, page, "student1", "password123")
    assert answer_of(auth.get(response.location))["state"] == MARKUP


def test_name_of_a_user_is_escaped(auth: FlaskClient) -> None:
    run_command(auth, "users", "set", "student1", "--name", MARKUP)
    sign_in(auth)

    page = auth.get("/account")

    assert "<script" not in page.text
    assert MARKUP in html.unescape(page.text)


def test_state_on_the_logout_page_is_escaped(auth: FlaskClient) -> None:
    sign_in(auth)

    page = auth.get(f"/logout?state={MARKUP}")

    assert "<script" not in page.text


# The headers of every page

# By name: the status, whether a user is signed in, the method, the path and what is sent. `{web}` is the
# path to which an application sends a browser.
FORM = "application/x-www-form-urlencoded"
PAGES: dict[str, tuple[int, bool, str, str, dict[str, Any]]] = {
    "sign-in": (200, False, "GET", "/login", {}),
    "sign-in for an application": (200, False, "GET", "{web}", {}),
    "expired form": (400, False, "POST", "/login", {"data": {"username": "x"}}),
    "account of a user who is not signed in": (200, False, "GET", "/account", {}),
    "account": (200, True, "GET", "/account", {}),
    "password": (200, True, "GET", "/account/password", {}),
    "expired form for a password": (400, True, "POST", "/account/password", {"data": {"new_password": "x"}}),
    "sign-out": (200, True, "GET", "/logout", {}),
    "signed out": (200, False, "GET", "/signed-out", {}),
    "response by form_post": (200, True, "GET", "{web}&response_mode=form_post", {}),
    "unknown client": (400, False, "GET", "/authorize?client_id=nobody", {}),
    "repeated client": (400, False, "GET", "/authorize?client_id=a&client_id=b", {}),
    "not UTF-8": (400, False, "GET", "/authorize?client_id=%ff", {}),
    "bad sign-out": (400, False, "GET", "/logout?post_logout_redirect_uri=https://x.example.com", {}),
    "JSON": (415, False, "POST", "/login", {"json": {"username": "student1"}}),
    "file": (415, False, "POST", "/login", {"content_type": "multipart/form-data"}),
    "no media type": (415, False, "POST", "/login", {"data": b"username=x"}),
    "large form": (413, False, "POST", "/login", {"data": b"x" * 65537}),
    "large request": (413, False, "POST", "/authorize", {"data": b"x" * 65537}),
    "repeated field": (400, False, "POST", "/login", {"data": {"username": ["a", "b"]}}),
    "form that is not UTF-8": (400, False, "POST", "/login", {"data": b"a=%ff", "content_type": FORM}),
    "form of 101 fields": (400, False, "POST", "/login", {"data": b"a=1&" * 101, "content_type": FORM}),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_forbids_scripts_framing_caching_and_referrers(name: str, auth: FlaskClient) -> None:
    status, has_session, method, path, sent = PAGES[name]
    web = add_application(auth)
    if has_session:
        sign_in(auth)

    page = auth.open(path.format(web=web.url()), method=method, **sent)

    assert (page.status_code, page.mimetype) == (status, "text/html")
    check_headers(page, "{web}" in path, "'self'" if name == "response by form_post" else "'none'")


def test_redirects_keep_a_popup_connected_to_its_application(auth: FlaskClient) -> None:
    """Browsers would also separate it at a redirect with another opener policy."""
    web = add_application(auth)

    redirects = [
        sign_in(auth, path=web.url()),
        auth.get(web.url()),
        auth.post("/authorize", data={"client_id": "web"}),
        auth.post("/logout"),
        auth.post("/logout", data=fields_of(auth.get("/logout"))),
    ]

    assert {response.status_code for response in redirects} == {303}
    assert {response.headers["Cross-Origin-Opener-Policy"] for response in redirects} == {"unsafe-none"}


def test_page_after_a_failed_sign_in_has_the_same_headers(auth: FlaskClient) -> None:
    page = submit_sign_in(auth, auth.get(add_application(auth).url()), "nobody", "wrong")

    assert page.status_code == 400
    check_headers(page, True, "'none'")


def check_headers(page: TestResponse, is_for_application: bool, scripts: str) -> None:
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "script-src": scripts,
        "form-action": "'self' https:" if is_for_application else "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    for header, value in {
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "unsafe-none",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }.items():
        assert page.headers.getlist(header) == [value]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|javascript:", page.text)


METHODS = [
    (method, path)
    for path in ("/login", "/logout", "/account", "/account/password", "/account/end", "/signed-out")
    for method in ("PUT", "PATCH", "DELETE", "TRACE")
] + [("GET", "/account/end"), ("POST", "/account"), ("POST", "/signed-out"), ("DELETE", "/authorize")]


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_other_methods_are_refused(method: str, path: str, auth: FlaskClient) -> None:
    response = auth.open(path, method=method)

    assert response.status_code == 405
    assert "Allow" in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_database_failure_shows_a_503_page(auth: FlaskClient) -> None:
    """Even for a signed-in user, whose session cannot be looked up."""
    sign_in(auth)
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE browser_sessions RENAME TO gone"))

    page = auth.get("/account")

    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert page.headers["Retry-After"] == "1"


# Cookies


@pytest.fixture
def https(new_database: Callable[[], str], key_pair: KeyPair) -> Iterator[FlaskClient]:
    url, issuer = new_database(), "https://example.com/auth"
    with open_auth(url, key_pair, issuer=issuer, trusted_proxies=1) as client:
        # A client without contract checks: the contract does not know the path of the issuer.
        yield FlaskClient(client.application)


def set_cookies(response: TestResponse) -> dict[str, tuple[str, set[str]]]:
    """Return the value and the attributes of each cookie that a response sets."""
    found = {}
    for header in response.headers.getlist("Set-Cookie"):
        first, *attributes = header.split("; ")
        name, _, value = first.partition("=")
        assert name not in found
        found[name] = (value, {part for part in attributes if not part.startswith("Expires")})
    return found


COMMON = {"HttpOnly", "Path=/", "SameSite=Lax"}
LONG = "Max-Age=34560000"


@both_databases
def test_cookies_over_http_are_for_this_host_only_and_hidden_from_scripts(auth: FlaskClient) -> None:
    page = set_cookies(auth.get("/login"))
    signed_in = set_cookies(sign_in(auth))
    signed_out = set_cookies(auth.post("/logout", data=fields_of(auth.get("/logout"))))

    assert {name: attributes for name, (_, attributes) in page.items()} == {"auth_browser": COMMON | {LONG}}
    assert signed_in["auth_session"][1] == COMMON, "until the browser is closed"
    assert signed_in["auth_browser"] == page["auth_browser"]
    assert signed_out["auth_session"] == ("", COMMON | {"Max-Age=0"})
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", value) for value, _ in signed_in.values())


PREFIXES = {"no prefix": ({}, ""), "prefix": ({"X-Forwarded-Prefix": "/auth"}, "/auth")}


@pytest.mark.parametrize(("headers", "prefix"), PREFIXES.values(), ids=PREFIXES)
def test_cookies_over_https_cannot_be_planted_by_a_neighbouring_host(
    headers: dict[str, str], prefix: str, https: FlaskClient
) -> None:
    options: Any = {"base_url": "https://example.com", "headers": headers}
    page = https.get("/login", **options)
    form = {**fields_of(page), "username": "student1", "password": "password123"}
    signed_in = https.post("/login", data=form, **options)
    leave = https.get("/logout", **options)
    signed_out = https.post("/logout", data=fields_of(leave), **options)

    secure = COMMON | {"Secure"}
    assert set_cookies(page)["__Host-auth_browser"][1] == secure | {LONG}
    assert set_cookies(signed_in)["__Host-auth_session"][1] == secure
    assert set_cookies(signed_out)["__Host-auth_session"] == ("", secure | {"Max-Age=0"})
    assert f'action="{prefix}/login"' in page.text
    assert signed_in.location == f"{prefix}/account"
    assert signed_out.location == f"{prefix}/signed-out"


def test_cookie_without_the_host_prefix_is_ignored_over_https(https: FlaskClient) -> None:
    """Another subdomain, or an attacker on an unencrypted connection, could have planted it."""
    options: Any = {"base_url": "https://example.com"}
    form = {**fields_of(https.get("/login", **options)), "username": "student1", "password": "password123"}
    response = https.post("/login", data=form, **options)
    value = set_cookies(response)["__Host-auth_session"][0]

    stranger = FlaskClient(https.application)
    page = stranger.get("/account", headers={"Cookie": f"auth_session={value}"}, **options)

    assert 'name="password"' in page.text


@both_databases
def test_sign_out_invalidates_the_cookie(auth: FlaskClient) -> None:
    sign_in(auth)
    cookie = auth.get_cookie("auth_session")
    assert cookie
    auth.post("/logout", data=fields_of(auth.get("/logout")))

    auth.set_cookie("auth_session", cookie.value)

    assert not is_signed_in(auth)


def test_hash_in_the_database_is_not_accepted_as_a_cookie(auth: FlaskClient) -> None:
    sign_in(auth)
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        stored = session.scalar(sa.select(BrowserSession.token_hash))

    for value in (stored, stored[:43]):
        auth.set_cookie("auth_session", value)
        assert not is_signed_in(auth)
    change_row(auth, sa.update(BrowserSession).values(token_hash="A" * 43))
    auth.set_cookie("auth_session", "A" * 43)
    assert not is_signed_in(auth)
