"""The README's web application signs users in, with auth_app under gunicorn."""

import html
import re
import shlex
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from tests.secrets import remember
from tests.servers import ROOT, Pair, run_flask

SECTION = (ROOT / "README.md").read_text().partition("## Sign in from a web application")[2]
(FOUND,) = re.findall(r"```text\n\.venv/bin/flask --app wsgi_auth (.*?)\n```", SECTION, re.DOTALL)[:1]
COMMAND = FOUND.replace("\\\n ", "")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[:1]


@pytest.fixture
def web(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The application, registered by the command beside it."""
    printed = run_flask("wsgi_auth", f"{COMMAND} --json", pair.auth.environment, pair.auth.log.parent)
    secret = re.findall(r'"client_secret": "([^"]+)"', printed)[0]
    remember({"client_secret": secret})
    monkeypatch.setenv("FLASK_CLIENT_SECRET", secret)
    monkeypatch.setenv("FLASK_SECRET_KEY", "only for this test")
    program = {"__name__": "web"}
    exec(PROGRAM.replace("http://127.0.0.1:8081", pair.auth.url), program)  # noqa: S102
    app = program["app"]
    assert isinstance(app, Flask)
    return app


def test_web_application_of_the_readme_signs_people_in(web: Flask, pair: Pair) -> None:
    redirect_uri = shlex.split(COMMAND)[shlex.split(COMMAND).index("--redirect-uri") + 1]
    application = web.test_client()
    origin = redirect_uri.removesuffix("/callback")
    asked = application.get("/login", base_url=origin)

    with requests.Session() as browser:
        page = browser.get(asked.location, timeout=60)
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
        fields = {name: html.unescape(value) for name, value in found}
        form = {**fields, "username": "student1", "password": "password123"}
        signed_in = browser.post(f"{pair.auth.url}/login", form, allow_redirects=False, timeout=60)
        back = browser.get(
            f"{pair.auth.url}{signed_in.headers['Location']}", allow_redirects=False, timeout=60
        )

    assert back.headers["Location"].startswith(f"{redirect_uri}?code=")
    callback = urlsplit(back.headers["Location"])
    answer = application.get(f"{callback.path}?{callback.query}", base_url=origin)
    assert answer.text == "Hello student1"
