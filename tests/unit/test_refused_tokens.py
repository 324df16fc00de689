"""Every check on access tokens has tokens that it refuses, and good tokens as a control."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask_resource_server.tokens.checks import CHECKS, MAXIMUM_LENGTH, Expected
from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    get_token,
    open_auth,
    open_course,
    read_claims,
    run_command,
)
from tests.forger import (
    ABSENT,
    COURSES,
    ISSUER,
    Forger,
)
from tests.token_rows import ACCEPTED, REFUSED, REFUSED_BY, Make

# Without a token, the response only says where to get one (RFC 6750 section 3.1, RFC 9728 section 5.1).
BARE_CHALLENGE = f'Bearer resource_metadata="{COURSES}/.well-known/oauth-protected-resource"'


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair
) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    folder = tmp_path_factory.mktemp("services")
    with (
        open_auth(f"sqlite:///{folder}/auth.db", key_pair) as auth,
        open_course(f"sqlite:///{folder}/course.db", key_pair) as course,
    ):
        yield auth, course


@pytest.fixture(scope="module")
def genuine(services: tuple[FlaskClient, FlaskClient], key_pair: KeyPair) -> Forger:
    """Signs with the issuer's own key, for a user who is logged in."""
    claims = read_claims(get_token(services[0]))
    return Forger(key_pair.private_key, key_pair.kid, claims["sub"], claims["sid"])


@pytest.fixture(scope="module")
def attacker(genuine: Forger, other_key_pair: KeyPair) -> Forger:
    """Signs with a key of its own, under the name of the issuer's."""
    return Forger(other_key_pair.private_key, genuine.kid, genuine.subject, genuine.session)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_is_accepted(
    make: Make, services: tuple[FlaskClient, FlaskClient], genuine: Forger, attacker: Forger
) -> None:
    response = services[1].get("/courses", headers=bearer(make(genuine, attacker)))

    assert response.status_code == 200


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_refused(
    make: Make, services: tuple[FlaskClient, FlaskClient], genuine: Forger, attacker: Forger
) -> None:
    auth, course = services
    for client, path in ((auth, "/users/me"), (auth, "/userinfo"), (course, "/courses")):
        response = client.get(path, headers=bearer(make(genuine, attacker)))

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
        assert response.json
        assert response.json["error"] == "invalid_token"


@pytest.fixture(scope="module")
def inspector(services: tuple[FlaskClient, FlaskClient]) -> tuple[str, str]:
    """A client that may introspect tokens for every server."""
    return add_client(services[0], "inspector")


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_not_active(
    make: Make,
    services: tuple[FlaskClient, FlaskClient],
    inspector: tuple[str, str],
    genuine: Forger,
    attacker: Forger,
) -> None:
    token = make(genuine, attacker)

    response = services[0].post("/introspect", data={"token": token}, auth=inspector)

    # An empty parameter counts as omitted (RFC 6749 section 3.1).
    assert response.json == {"active": False} if token else response.status_code == 400


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_revokes_nothing(
    make: Make, services: tuple[FlaskClient, FlaskClient], genuine: Forger, attacker: Forger
) -> None:
    token = make(genuine, attacker)

    response = services[0].post("/revoke", data={"token": token})

    # A token that is not ours counts as revoked (RFC 7009 section 2.2); a missing token is an error.
    assert response.status_code == (200 if token else 400)
    assert services[0].get("/users/me", headers=bearer(genuine.sign())).status_code == 200


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_revokes_its_session(
    make: Make, services: tuple[FlaskClient, FlaskClient], key_pair: KeyPair
) -> None:
    claims = read_claims(get_token(services[0]))
    another = Forger(key_pair.private_key, key_pair.kid, claims["sub"], claims["sid"])

    assert services[0].post("/revoke", data={"token": make(another, another)}).status_code == 200
    assert services[0].get("/users/me", headers=bearer(another.sign())).status_code == 401


# What `explain-token` calls each check, by its reason; parsing comes before the table.
NAMES = {"form": "three parts in base64url"} | {
    check.reason: check.describe(Expected({}, ISSUER, frozenset({COURSES}))) for check in CHECKS
}


def test_every_check_has_its_own_reason_and_its_own_bad_tokens() -> None:
    assert list(NAMES) == list(REFUSED_BY)
    assert len(NAMES) == 1 + len(CHECKS)


@pytest.mark.parametrize(
    ("reason", "make"),
    [(reason, make) for reason, rows in REFUSED_BY.items() for make in rows.values()],
    ids=REFUSED,
)
def test_explain_token_names_the_first_failed_check_of_a_bad_token(
    reason: str,
    make: Make,
    services: tuple[FlaskClient, FlaskClient],
    genuine: Forger,
    attacker: Forger,
) -> None:
    result = run_command(services[1], "explain-token", stdin=make(genuine, attacker))

    assert result.exit_code == 1
    lines = result.output.splitlines()
    first = [line[:4] for line in lines].index("FAIL")
    assert lines[first].startswith(f"FAIL  {NAMES[reason]}")
    assert [line for line in lines if line.startswith("      ")] == [lines[first + 1]], (
        "advice only on the first failed check"
    )


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_is_active_and_passes_every_check(
    make: Make,
    services: tuple[FlaskClient, FlaskClient],
    inspector: tuple[str, str],
    genuine: Forger,
    attacker: Forger,
) -> None:
    token = make(genuine, attacker)

    response = services[0].post("/introspect", data={"token": token}, auth=inspector)
    result = run_command(services[1], "explain-token", stdin=token)

    assert response.json
    assert response.json["active"] is True
    assert (result.exit_code, result.output.count("FAIL")) == (0, 0)
    assert result.output.count("pass") == len(CHECKS) + 2


def test_rows_about_length_lie_on_both_sides_of_the_limit(genuine: Forger) -> None:
    assert len(ACCEPTED["as long as may be"](genuine, genuine)) <= MAXIMUM_LENGTH
    assert len(REFUSED["too long"](genuine, genuine)) > MAXIMUM_LENGTH


def test_token_for_one_service_is_refused_by_the_other(
    services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    auth, course = services
    for audience, statuses in ((ISSUER, (200, 401)), (COURSES, (401, 200))):
        headers = bearer(genuine.sign(aud=[audience]))

        assert auth.get("/users/me", headers=headers).status_code == statuses[0]
        assert course.get("/courses", headers=headers).status_code == statuses[1]


@pytest.mark.parametrize("subject", ["not-a-uuid", "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"])
def test_token_of_an_unknown_user_is_refused_by_the_issuer(
    subject: str, services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    response = services[0].get("/users/me", headers=bearer(genuine.sign(sub=subject)))

    assert response.status_code == 401


# The Authorization header with a good token in it, the status, and how the challenge begins.
HEADERS = {
    "Bearer": ("Bearer {}", 200, None),
    "lower case": ("bearer {}", 200, None),
    "upper case": ("BEARER {}", 200, None),
    "two spaces": ("Bearer  {}", 200, None),
    "spaces around": ("  Bearer {}  ", 200, None),
    "no header": (None, 401, "Bearer"),
    "empty": ("", 401, "Bearer"),
    "commas": (", ,", 401, "Bearer"),
    "bare token": ("{}", 401, "Bearer"),
    "Basic": ("Basic c3R1ZGVudDE6cGFzc3dvcmQxMjM=", 401, "Bearer"),
    "Basic, then Bearer": ("Basic c3R1ZGVudDE6cGFzc3dvcmQxMjM=, Bearer {}", 401, "Bearer"),
    "JWT": ("JWT {}", 401, "Bearer"),
    "no token": ("Bearer", 401, "Bearer error="),
    "no space": ("Bearer{}", 401, "Bearer error="),
    "tab": ("Bearer\t{}", 401, "Bearer error="),
    "quoted": ('Bearer "{}"', 401, "Bearer error="),
    "comma after": ("Bearer {},", 401, "Bearer error="),
    "comma before": (", Bearer {}", 401, "Bearer"),
    "parameter": ("Bearer token={}", 401, "Bearer error="),
    "twice": ("Bearer {0}, Bearer {0}", 401, "Bearer error="),
}


@pytest.mark.parametrize(("value", "status", "challenge"), HEADERS.values(), ids=HEADERS)
def test_token_is_accepted_only_in_a_well_formed_authorization_header(
    value: str | None,
    status: int,
    challenge: str | None,
    services: tuple[FlaskClient, FlaskClient],
    genuine: Forger,
) -> None:
    headers = {} if value is None else {"Authorization": value.format(genuine.sign())}

    response = services[1].get("/courses", headers=headers)

    assert response.status_code == status
    found = response.headers.get("WWW-Authenticate")
    if challenge is None:
        assert found is None
    elif challenge == "Bearer":
        assert found == BARE_CHALLENGE
    else:
        assert found is not None
        assert found.startswith(challenge)


# Where else flask-jwt-extended could look for a token.
ELSEWHERE: dict[str, Callable[[str], dict[str, Any]]] = {
    "query": lambda token: {"query_string": {"jwt": token, "access_token": token}},
    "cookie": lambda token: {"headers": {"Cookie": f"access_token_cookie={token}"}},
    "JSON": lambda token: {"json": {"access_token": token}},
    "form": lambda token: {"data": {"access_token": token}},
    "another header": lambda token: {"headers": {"X-Authorization": f"Bearer {token}"}},
    "our own header": lambda token: {"headers": {"Checked-Bearer-Token": f"Bearer {token}"}},
}


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
def test_token_is_read_from_the_authorization_header_only(
    place: Callable[[str], dict[str, Any]], services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    response = services[1].get("/courses", **place(genuine.sign()))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == BARE_CHALLENGE


def test_every_published_key_verifies_its_own_tokens(
    tmp_path: Path, key_pair: KeyPair, other_key_pair: KeyPair, genuine: Forger, attacker: Forger
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(key_pair.public_file.read_bytes() + other_key_pair.public_file.read_bytes())
    other = Forger(other_key_pair.private_key, other_key_pair.kid)

    with open_course(f"sqlite:///{tmp_path}/course.db", KeyPair(Path(), both)) as course:
        statuses = [
            course.get("/courses", headers=bearer(signer.sign())).status_code
            for signer in (genuine, other, attacker)
        ]

    assert statuses == [200, 200, 401]


@pytest.mark.parametrize(
    "reference",
    [
        {"idx": 2**70, "uri": f"{ISSUER}/.well-known/status-list/1"},
        {"idx": 1, "uri": f"{ISSUER}/.well-known/status-list/{'9' * 30}"},
        {"idx": 1, "uri": "http://127.0.0.1:9999/.well-known/status-list/1"},
        {"idx": 1, "uri": "1"},
    ],
    ids=["index", "list", "issuer", "not a URL"],
)
def test_impossible_status_reference_is_refused_by_the_issuer(
    reference: dict[str, Any], services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    token = genuine.sign(sid=ABSENT, status={"status_list": reference})

    assert services[0].get("/users/me", headers=bearer(token)).status_code == 401
