"""Every example service accepts good tokens and refuses others with the right challenge."""

import dataclasses
from pathlib import Path

import pytest

from tests.conftest import KeyPair, read_claims
from tests.examples.programs import PATHS, Examples, ask, serve_example
from tests.forger import Forger
from tests.servers import call, find_port, wait_for
from tests.token_rows import REFUSED, REFUSED_BY

every_service = pytest.mark.parametrize("name", PATHS)

# A row for each kind of check; the kit's own tests have all of them.
BAD = [
    "no dot",
    "alg HS256 with the public PEM",
    "typ JWT",
    "signed with another key",
    "iss another",
    "aud another",
    "exp past",
]
# What the kit refuses and the Node example accepts, because jose does. Only the issuer can sign these, except
# for the first, which is a genuine token in another encoding.
ACCEPTED_BY_NODE = {
    "non-zero padding bits in the last character",
    "header with a byte order mark",
    "header with a lone surrogate",
    "header with a member twice",
    "header with a nested member twice",
    "payload with a byte order mark",
    "payload with a lone surrogate",
    "payload with a member twice",
    "payload with a nested member twice",
    "crit with b64",
    "kid missing",
    "kid null",
    "kid a number",
    "kid a list",
    "aud with a number",
    "exp larger than any float",
    "lives too long",
    "issued long ago, not yet expired",
    "expires when issued",
    "expires before issued",
    "type refresh",
}


@every_service
def test_token_from_a_login_is_accepted(name: str, examples: Examples) -> None:
    url, token = examples.start(name), examples.log_in()

    assert ask(url, token, Courses_Authorization=f"Bearer {token}").status == 200


@every_service
def test_request_without_a_token_is_challenged(name: str, examples: Examples) -> None:
    answer = ask(examples.start(name))

    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "error" not in answer.headers["www-authenticate"]


@every_service
def test_token_without_the_scope_is_forbidden(name: str, examples: Examples) -> None:
    answer = ask(examples.start(name), examples.log_in(scope="enrolments:write"))

    assert answer.status == 403
    assert 'error="insufficient_scope", scope="courses:read"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("row", BAD)
@every_service
def test_bad_token_is_refused(
    name: str, row: str, examples: Examples, genuine: Forger, other_key_pair: KeyPair
) -> None:
    forger = dataclasses.replace(genuine, resource=examples.urls[name])
    other = dataclasses.replace(forger, key=other_key_pair.private_key)

    answer = ask(examples.start(name), REFUSED[row](forger, other))

    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@every_service
def test_logout_is_honoured(name: str, examples: Examples) -> None:
    url, token = examples.start(name), examples.log_in()
    headers = {"Courses_Authorization": f"Bearer {token}"}
    assert ask(url, token, **headers).status == 200
    assert call(f"{examples.pair.auth.url}/revoke", form={"token": token})[0] == 200

    wait_for(lambda: ask(url, token, **headers).status == 401)


@every_service
def test_service_responds_503_while_the_issuer_is_down(
    name: str, examples: Examples, genuine: Forger, tmp_path: Path
) -> None:
    """While its issuer is down it responds with 503: a 401 would make the client discard the token."""
    url, issuer = (f"http://127.0.0.1:{find_port()}" for _ in range(2))
    token = dataclasses.replace(genuine, issuer=issuer, resource=url).sign()
    with serve_example(name, url, issuer, examples.pair, tmp_path):
        answer = ask(url + PATHS[name], token)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("row", REFUSED)
def test_node_refuses_what_the_kit_refuses_with_known_exceptions(
    row: str, examples: Examples, genuine: Forger, other_key_pair: KeyPair
) -> None:
    forger = dataclasses.replace(genuine, resource=examples.urls["node"])
    other = dataclasses.replace(forger, key=other_key_pair.private_key)

    answer = ask(examples.start("node"), REFUSED[row](forger, other))

    assert answer.status == (200 if row in {*ACCEPTED_BY_NODE, *REFUSED_BY["binding"]} else 401)


def test_only_the_owner_can_change_a_report(examples: Examples) -> None:
    url, body = examples.start("service"), {"title": "Enrolments in May"}
    owner, other = (
        examples.log_in(*user) for user in (("teacher1", "password456"), ("admin1", "password789"))
    )
    report = ask(url, owner, "POST", body).json

    refused = ask(f"{url}/{report['id']}", other, "PUT", {"title": "Mine"})
    changed = ask(f"{url}/{report['id']}", owner, "PUT", {"title": "Enrolments in June"})

    assert (refused.status, refused.json["error"]) == (403, "forbidden")
    assert (changed.status, changed.json["title"]) == (200, "Enrolments in June")
    assert changed.json in ask(url, other).json["reports"]


@pytest.mark.parametrize("body", [{}, [], {"title": 1}, "title"], ids=str)
def test_report_needs_a_title(body: object, examples: Examples) -> None:
    token = examples.log_in("teacher1", "password456")

    assert ask(examples.start("service"), token, "POST", body).status == 400


def test_backend_behind_nginx_receives_the_subject_but_no_token(examples: Examples) -> None:
    token = examples.log_in()

    received = ask(examples.start("nginx"), token, X_Subject="somebody else").text

    assert f"X-Subject: {read_claims(token)['sub']}\n" in received
    assert "somebody else" not in received
    assert "Authorization" not in received


def test_verifier_behind_nginx_is_not_exposed(examples: Examples) -> None:
    examples.start("nginx")

    assert ask(f"{examples.urls['nginx']}/verify", examples.log_in()).status == 404


@pytest.mark.parametrize("name", ["service", "nginx", "downstream"])
def test_challenge_links_to_the_metadata_of_the_service(name: str, examples: Examples) -> None:
    challenge = ask(examples.start(name)).headers["www-authenticate"]

    metadata = ask(challenge.partition('resource_metadata="')[2].rstrip('"')).json

    assert metadata["resource"] == examples.urls[name]
    assert metadata["authorization_servers"] == [examples.pair.auth.url]
