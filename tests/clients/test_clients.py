"""Each client signs a user in from discovery to userinfo, and out again.

Authlib's Flask client and oidc-client-ts have their tests in tests/browser: the examples use them.
"""

import json
from typing import Any

import pytest

from tests.clients.programs import APPLICATIONS, Application, Clients
from tests.conftest import read_claims
from tests.form_browser import FormBrowser, Page
from tests.secrets import remember
from tests.servers import call, wait_for

every_client = pytest.mark.parametrize("name", APPLICATIONS)
# Auth.js ends only its own session.
every_client_that_signs_out = pytest.mark.parametrize("name", sorted(APPLICATIONS.keys() - {"auth.js"}))


def begin(browser: FormBrowser, application: Application) -> Page:
    """Start a sign-in at an application, and return the page to which it redirects."""
    page = browser.open(application.url + application.sign_in)
    if application.sign_in == "/auth/signin":  # Auth.js first asks for the provider
        page = browser.submit(page)
    return page


def sign_in(browser: FormBrowser, application: Application) -> dict[str, Any]:
    """Sign in with a password, and return what the application then knows about its user."""
    page = begin(browser, application)
    assert 'type="password"' in page.text, page.text
    answer = browser.submit(page, username="student1", password="password123")
    assert answer.status_code == 200, answer.text
    known = read_user(browser, application)
    assert known, "the user is signed in"
    return known


def read_user(browser: FormBrowser, application: Application) -> dict[str, Any]:
    """Return what an application knows about its user, or nothing if no user is signed in."""
    page = browser.open(application.url + application.known)
    if page.status_code == 401:
        return {}
    assert page.status_code == 200, page.text
    known: dict[str, Any] = json.loads(page.text)
    remember(known)
    return known


def is_accepted(clients: Clients, token: str) -> bool:
    status, _ = call(f"{clients.pair.course.url}/courses", token)
    assert status in {200, 401}
    return status == 200


@every_client
def test_user_signs_in(name: str, clients: Clients) -> None:
    known = sign_in(FormBrowser(), clients.start(name))

    assert known["preferred_username"] == "student1"
    assert known["roles"] in (["student"], "student")
    assert known["sub"] == read_claims(known["access_token"])["sub"]
    assert is_accepted(clients, known["access_token"])
    if name.startswith("openid-client") and "public" not in name:
        assert known["active"] is True


@every_client
def test_signed_in_user_needs_no_password(name: str, clients: Clients) -> None:
    browser, application = FormBrowser(), clients.start(name)
    assert browser.sign_in(f"{clients.pair.auth.url}/login").ok

    begin(browser, application)

    assert read_user(browser, application)["preferred_username"] == "student1"


@every_client_that_signs_out
def test_sign_out_ends_the_sessions_of_application_and_auth_app(name: str, clients: Clients) -> None:
    browser, application = FormBrowser(), clients.start(name)
    token = sign_in(browser, application)["access_token"]

    left = browser.open(application.url + application.sign_out.format(application.url))

    assert left.url.startswith(f"{application.url}/"), left.text
    assert read_user(browser, application) == {}
    assert 'type="password"' in begin(browser, application).text
    wait_for(lambda: not is_accepted(clients, token))


def test_apache_ends_its_session_after_a_logout_notice(clients: Clients) -> None:
    """Back-channel logout ends the session in Apache, although the browser does not contact it."""
    browser, application = FormBrowser(), clients.start("mod_auth_openidc")
    sign_in(browser, application)
    question = browser.open(f"{clients.pair.auth.url}/logout")

    assert browser.submit(question).url == f"{clients.pair.auth.url}/signed-out"

    wait_for(lambda: read_user(browser, application) == {})
