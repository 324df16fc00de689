"""Sign in with the test client as the browser, and act as the application that requests it."""

import hashlib
import html
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import PASSWORDS, run_command
from tests.secrets import remember

CALLBACK = "https://web.example.com/callback"


def challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Application:
    """A registered client, and its secret if it has one."""

    id: str = "web"
    secret: str | None = None
    redirect_uri: str = CALLBACK
    verifier: str = "v" * 43

    @property
    def credentials(self) -> tuple[str, str] | None:
        return (self.id, self.secret) if self.secret else None

    def url(self, **changes: Any) -> str:
        """Return the path to which it redirects a browser; None removes a parameter."""
        parameters: dict[str, Any] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid courses:read",
            "state": "some state",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"/authorize?{urlencode(given, doseq=True)}"

    def redeem(self, client: FlaskClient, code: str, /, **changes: Any) -> TestResponse:
        """Exchange a code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **({} if self.secret else {"client_id": self.id}),
            **changes,
        }
        given = {name: value for name, value in form.items() if value is not None}
        return client.post("/token", data=given, auth=self.credentials)


def add_application(auth: FlaskClient, client_id: str = "web", *options: str, **fields: Any) -> Application:
    """Register a client for sign-in that may read courses."""
    uri = fields.get("redirect_uri", CALLBACK)
    arguments = ("--redirect-uri", uri, "--scope", "courses:read", *options)
    result = run_command(auth, "clients", "add", client_id, *arguments)
    assert result.exit_code == 0, result.output
    found = re.search(r"client_secret  (\S+)", result.stdout)
    remember({"client_secret": found[1] if found else None})
    return Application(client_id, found[1] if found else None, **fields)


def fields_of(page: TestResponse) -> dict[str, str]:
    """Return the hidden fields of a page's first form."""
    assert page.mimetype == "text/html", page.text
    form = re.search(r"<form.*?</form>", page.text, re.DOTALL)
    assert form, page.text
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
    return {name: html.unescape(value) for name, value in found}


def submit_sign_in(browser: FlaskClient, page: TestResponse, username: str, password: str) -> TestResponse:
    form = {**fields_of(page), "username": username, "password": password}
    return browser.post("/login", data=form)


def sign_in(browser: FlaskClient, username: str = "student1", path: str = "/login") -> TestResponse:
    """Sign in on a sign-in page, and return the response to the form, which must succeed."""
    response = submit_sign_in(browser, browser.get(path), username, PASSWORDS[username])
    assert response.status_code == 303, response.text
    return response


def answer_of(response: TestResponse) -> dict[str, str]:
    """Return the parameters of a redirect to an application."""
    assert response.status_code == 303, response.text
    query = parse_qs(urlsplit(response.location).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    answer = {name: values[0] for name, values in query.items()}
    remember({"token": answer.get("code")})
    return answer


def get_code(browser: FlaskClient, application: Application, **changes: Any) -> str:
    """Return a code for the signed-in user."""
    return answer_of(browser.get(application.url(**changes)))["code"]


def get_tokens(browser: FlaskClient, application: Application, **changes: Any) -> dict[str, Any]:
    """Return the tokens of the signed-in user."""
    response = application.redeem(browser, get_code(browser, application, **changes))
    assert response.status_code == 200, response.text
    assert isinstance(response.json, dict)
    return response.json


def new_browser(client: FlaskClient) -> FlaskClient:
    """Return another browser: one without cookies."""
    return client.application.test_client()


def refreshes(client: FlaskClient, application: Application, tokens: dict[str, Any]) -> bool:
    """Use the refresh token of a login, and return whether it was accepted."""
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    return client.post("/token", data=form, auth=application.credentials).status_code == 200
