"""`explain-token` says why a token is refused, and agrees with what refuses it."""

import pytest
from click.testing import Result
from flask.testing import FlaskClient

from shared.explanation import explain
from shared.public_keys import FixedKeys, PublicKeys
from tests.conftest import KeyPair, run_command
from tests.forger import COURSES, ISSUER, Forger
from tests.unit.test_refused_tokens import ACCEPTED, REFUSED, Make, now


@pytest.fixture(scope="module")
def public_keys(key_pair: KeyPair) -> PublicKeys:
    from shared.keys import read_key_file

    keys = read_key_file(key_pair.public_file)
    return FixedKeys(keys)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_token_passes_every_check(
    make: Make, forger: Forger, attacker: Forger, public_keys: PublicKeys
) -> None:
    checks = list(explain(make(forger, attacker), ISSUER, COURSES, public_keys))

    assert len(checks) == 15
    assert [name for name, is_good, _ in checks if not is_good] == []


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refused_token_fails_a_check(
    make: Make, forger: Forger, attacker: Forger, public_keys: PublicKeys
) -> None:
    checks = list(explain(make(forger, attacker), ISSUER, COURSES, public_keys))

    assert [name for name, is_good, _ in checks if not is_good]


def test_good_token_is_explained_and_nothing_of_it_is_shown(course: FlaskClient, forger: Forger) -> None:
    token = forger.sign()

    result = run_command(course, "explain-token", stdin=f"  {token}\n")

    assert result.exit_code == 0
    assert [line[:6] for line in result.output.splitlines()] == ["pass  "] * 16
    assert not any(part in result.output for part in token.split("."))


def explain_here(course: FlaskClient, token: str) -> Result:
    result = run_command(course, "explain-token", stdin=token)
    assert result.exit_code == 1
    assert token.rpartition(".")[2] not in result.output
    assert sum(line.startswith("      ") for line in result.output.splitlines()) == 1, "the first failure"
    return result


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exp": now(-100), "iat": now(-1000)}, "FAIL  it has not expired\n      it did "),
        ({"iat": now(3600), "exp": now(4000)}, "set the clock of this host"),
        ({"aud": ["http://a"]}, "it is ['http://a']: RESOURCE here must stand in RESOURCES of auth_app"),
        ({"iss": "http://b"}, "it is 'http://b': ISSUER must be the same here and in auth_app"),
        ({"exp": now(90_000)}, "FAIL  it lives for 3600 seconds at most\n      it lives for "),
        ({"sub": ""}, "RFC 9068"),
        ({"iss": "\x1b[2J\u202e"}, r"it is '\x1b[2J\u202e'"),
    ],
    ids=["expired", "clock", "audience", "issuer", "lifetime", "subject", "escape sequences"],
)
def test_first_failure_comes_with_advice(
    change: dict[str, object], said: str, course: FlaskClient, forger: Forger
) -> None:
    assert said in explain_here(course, forger.sign(**change)).output


def test_unknown_key_is_named_beside_those_that_are_known(
    course: FlaskClient, other_key_pair: KeyPair, key_pair: KeyPair
) -> None:
    stranger = Forger(other_key_pair.private_key, other_key_pair.kid)

    output = explain_here(course, stranger.sign()).output

    assert f"it is '{other_key_pair.kid}', and known are {key_pair.kid}: " in output
    assert "FAIL  the signature is that key's" in output
    assert "pass  it has not expired" in output, "the other checks are made all the same"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a.b.c", "Bearer x.y.z", "x" * 100_000, "\u00e9.\x00.\udcff"]
)
def test_anything_may_be_asked(text: str, course: FlaskClient) -> None:
    result = run_command(course, "explain-token", stdin=text.encode("utf-8", "replace").decode())

    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert isinstance(result.exception, SystemExit)
