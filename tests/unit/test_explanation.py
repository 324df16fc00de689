"""`explain-token` shows why a token is refused, and agrees with the verifier."""

import re

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from flask_resource_server import ResourceServer
from flask_resource_server.testing import TokenIssuer
from flask_resource_server.tokens.checks import CHECKS
from tests.conftest import KeyPair, run_command
from tests.forger import COURSES, Forger
from tests.issuers import reserve_port
from tests.token_rows import now


def test_good_token_passes_every_check_and_is_not_printed(course: FlaskClient, forger: Forger) -> None:
    token = forger.sign()

    result = run_command(course, "explain-token", stdin=f"  {token}\n")

    assert result.exit_code == 0
    *checks, verdict = result.output.splitlines()
    assert [line[:6] for line in checks] == ["pass  "] * (len(CHECKS) + 2)
    assert verdict == "The token is accepted. Views may still require scopes; check_claims was not run."
    assert not any(part in result.output for part in token.split("."))


def explain_here(course: FlaskClient, token: str) -> Result:
    result = run_command(course, "explain-token", stdin=token)
    assert result.exit_code == 1
    assert token.rpartition(".")[2] not in result.output
    assert result.output.endswith("\nThe token is refused.\n")
    assert sum(line.startswith("      ") for line in result.output.splitlines()) == 1, "the first failure"
    return result


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exp": now(-100), "iat": now(-1000)}, "FAIL  it has not expired\n      it expired "),
        ({"iat": now(3600), "exp": now(4000)}, "correct the clock of this host"),
        (
            {"aud": ["http://a"]},
            "it is ['http://a']: set RESOURCE to the name by which the issuer knows this service",
        ),
        (
            {"iss": "http://b"},
            "it is 'http://b': if this service trusts that issuer, set ISSUER to exactly that",
        ),
        ({"exp": now(90_000)}, "FAIL  its lifetime is at most 3600 seconds\n      it is "),
        ({"sub": ""}, "sub is '': send an access token"),
        ({"iss": "\x1b[2J\u202e"}, r"it is '\x1b[2J\u202e'"),
    ],
    ids=["expired", "clock", "audience", "issuer", "lifetime", "subject", "escape sequences"],
)
def test_first_failure_comes_with_advice(
    change: dict[str, object], said: str, course: FlaskClient, forger: Forger
) -> None:
    assert said in explain_here(course, forger.sign(**change)).output


def test_leeway_is_mentioned_only_if_it_was_needed(course: FlaskClient, forger: Forger) -> None:
    expired = run_command(course, "explain-token", stdin=forger.sign(exp=now(-3), iat=now(-900)))
    valid = run_command(course, "explain-token", stdin=forger.sign())

    assert (expired.exit_code, valid.exit_code) == (0, 0)
    assert re.search(
        r"^pass  it has not expired \(exp was [3-9] seconds ago; clocks may differ by 10\)$",
        expired.output,
        re.MULTILINE,
    )
    assert "pass  it has not expired\n" in valid.output


def test_unknown_key_is_reported_with_the_known_ones(
    course: FlaskClient, other_key_pair: KeyPair, key_pair: KeyPair
) -> None:
    stranger = Forger(other_key_pair.private_key, other_key_pair.kid)

    output = explain_here(course, stranger.sign()).output

    assert f"it is '{other_key_pair.kid}', and the known keys are '{key_pair.kid}': " in output
    assert "FAIL  the signature verifies with that key" in output
    assert "pass  it has not expired" in output, "the other checks are still made"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a.b.c", "Bearer x.y.z", "x" * 100_000, "\u00e9.\x00.\udcff"]
)
def test_any_input_is_explained_without_a_crash(text: str, course: FlaskClient) -> None:
    result = run_command(course, "explain-token", stdin=text.encode("utf-8", "replace").decode())

    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert isinstance(result.exception, SystemExit)


def test_unreachable_issuer_is_reported_with_the_cause() -> None:
    issuer = f"http://127.0.0.1:{reserve_port()}"
    app = Flask("service")
    ResourceServer(app, issuer=issuer, resource=COURSES)

    result = app.test_cli_runner().invoke(args="explain-token", input=TokenIssuer(issuer, COURSES).issue())

    assert result.exit_code == 1
    assert f"cannot fetch {issuer}/.well-known/oauth-authorization-server: ConnectionRefused" in result.output
    assert result.output.endswith("The token is refused.\n")
