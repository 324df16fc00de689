"""A service that calls another service never holds a token that both accept."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import read_claims
from tests.examples.programs import EXAMPLES, Examples, ask
from tests.secrets import SECRETS
from tests.servers import PATIENCE, environment_for


def settings_of(examples: Examples) -> dict[str, str]:
    return {
        "OAUTH_ISSUER": examples.pair.auth.url,
        "SUMMARY_URL": examples.urls["downstream"],
        "COURSES_URL": examples.pair.course.url,
    }


@pytest.fixture
def login(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A login of the example's client."""
    for name, value in settings_of(examples).items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("client", EXAMPLES / "downstream/client.py")
    assert spec
    assert spec.loader
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    return client.Login("student1", "password123")


def narrow(login: Any, resource: str, scope: str = "courses:read") -> str:
    token: str = login.narrow(resource, scope)
    SECRETS.add(token)
    return token


def test_client_prints_the_summary(examples: Examples) -> None:
    examples.start("downstream")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "downstream/client.py"), "student1", "password123"],
        env=environment_for(settings_of(examples)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.stdout.startswith('200 {"courses":'), done


def test_each_token_is_accepted_by_one_service(examples: Examples, login: Any) -> None:
    url, course = examples.start("downstream"), examples.pair.course.url
    own, other = narrow(login, examples.urls["downstream"]), narrow(login, course)

    assert read_claims(own)["aud"] == [examples.urls["downstream"]]
    assert ask(url, own, Courses_Authorization=f"Bearer {other}").status == 200
    assert ask(f"{course}/courses", own).status == 401
    assert ask(url, other, Courses_Authorization=f"Bearer {other}").status == 401


def test_token_for_the_other_service_has_only_the_scope_it_needs(examples: Examples, login: Any) -> None:
    course = examples.pair.course.url

    assert ask(f"{course}/courses/1/enrolment", narrow(login, course), "PUT").status == 403


@pytest.mark.parametrize("sent", ["", "Bearer malformed", "own", "other scope"])
def test_token_refused_by_the_other_service_does_not_cause_401(
    sent: str, examples: Examples, login: Any
) -> None:
    """A 401 would make the client discard its token for this service."""
    url, own = examples.start("downstream"), narrow(login, examples.urls["downstream"])
    if sent == "own":
        sent = f"Bearer {own}"
    elif sent == "other scope":
        sent = f"Bearer {narrow(login, examples.pair.course.url, 'enrolments:write')}"

    assert ask(url, own, Courses_Authorization=sent).status == 400
