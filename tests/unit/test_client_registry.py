"""Clients' secrets, scopes and resources can be changed, and their own tokens revoked."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import Client, Session
from tests.conftest import (
    KeyPair,
    add_client,
    bearer,
    both_databases,
    change_row,
    open_auth,
    open_course,
    read_claims,
    run_command,
)
from tests.forger import COURSES, ISSUER
from tests.issuers import serve_issuer
from tests.secrets import remember
from tests.servers import wait_for

pytestmark = both_databases

FORM = {"grant_type": "client_credentials"}


def works(client: FlaskClient, secret: str) -> bool:
    return client.post("/token", data=FORM, auth=("reports", secret)).status_code == 200


def set_secret(client: FlaskClient, *options: str) -> str:
    result = run_command(client, "clients", "set-secret", "reports", *options)
    assert result.exit_code == 0, result.output
    secret = result.stdout.split()[-1]
    remember({"client_secret": secret})
    return secret


def test_both_secrets_are_accepted_until_the_overlap_ends(auth: FlaskClient) -> None:
    _, first = add_client(auth)
    second = set_secret(auth)
    assert works(auth, first)
    assert works(auth, second)

    change_row(auth, sa.update(Client).values(previous_secret_expires_at=int(time.time())))

    assert not works(auth, first)
    assert works(auth, second)


def test_overlap_is_a_day_by_default(auth: FlaskClient) -> None:
    add_client(auth)

    for options, expected in (([], 86400), (["--overlap", "100"], 100)):
        set_secret(auth, *options)
        with auth.application.app_context():
            session = auth.application.extensions["sqlalchemy"].session
            expires_at = session.get(Client, "reports").previous_secret_expires_at
        assert expires_at - time.time() == pytest.approx(expected, abs=5)


def test_old_secret_is_refused_at_once_without_an_overlap(auth: FlaskClient) -> None:
    _, first = add_client(auth)

    second = set_secret(auth, "--overlap", "0")

    assert not works(auth, first)
    assert works(auth, second)


def test_only_the_last_two_secrets_are_accepted(auth: FlaskClient) -> None:
    _, first = add_client(auth)
    second, third = set_secret(auth), set_secret(auth)

    assert [works(auth, secret) for secret in (first, second, third)] == [False, True, True]


def test_client_is_shown_without_its_secret(auth: FlaskClient) -> None:
    _, secret = add_client(auth, "reports", "--scope", "courses:read")
    run_command(auth, "clients", "set", "reports", "--scope", "courses:write", "--resource", COURSES)

    shown = run_command(auth, "clients", "show", "reports")

    values = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines() if " " in line.strip())
    assert (values["id"], values["scopes"], values["resources"]) == ("reports", "courses:write", COURSES)
    assert values["previous_secret_expires_at"] == "-"
    assert secret not in shown.stdout


@pytest.mark.parametrize(("value", "shown"), [(None, "all"), ([], "none")])
def test_unlimited_and_empty_lists_are_shown_differently(
    value: list[str] | None, shown: str, auth: FlaskClient
) -> None:
    add_client(auth, "reports", "--scope", "courses:read")
    change_row(auth, sa.update(Client).values(scopes=value, resources=value))

    lines = run_command(auth, "clients", "show", "reports").stdout.splitlines()
    table = run_command(auth, "clients", "list").stdout.splitlines()
    as_json = json.loads(run_command(auth, "clients", "show", "reports", "--json").stdout)

    assert {(name, *rest) for name, *rest in map(str.split, lines)} >= {
        ("scopes", shown),
        ("resources", shown),
    }
    assert [row.split()[-2:] for row in table if row.startswith("reports ")] == [[shown, shown]]
    assert (as_json["scopes"], as_json["resources"]) == (value, value)


def test_omitted_options_keep_their_values(auth: FlaskClient) -> None:
    add_client(auth, "reports", "--scope", "courses:read", "--resource", COURSES)

    run_command(auth, "clients", "set", "reports", "--resource", ISSUER)
    run_command(auth, "clients", "set", "reports", "--scope", "courses:write")

    shown = json.loads(run_command(auth, "clients", "show", "reports", "--json").stdout)
    assert (shown["scopes"], shown["resources"]) == (["courses:write"], [ISSUER])


def test_simultaneous_first_requests_share_one_session(auth: FlaskClient) -> None:
    credentials, barrier = add_client(auth), Barrier(4)

    def get_token(_: int) -> str:
        barrier.wait()
        client = auth.application.test_client()
        answer = client.post("/token", data=FORM, auth=credentials).get_json()
        return str(answer["access_token"])

    with ThreadPoolExecutor(4) as pool:
        tokens = list(pool.map(get_token, range(4)))

    assert len({str(read_claims(token)["status"]) for token in tokens}) == 1
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        assert len(session.scalars(sa.select(Session)).all()) == 1


def test_services_refuse_a_clients_own_token_once_it_is_revoked(
    new_database: Callable[[], str], key_pair: KeyPair, tmp_path: Path
) -> None:
    """Services that require every token to refer to a status list do so too."""
    with open_auth(new_database(), key_pair, status_list_ttl=1) as auth:
        _check_own_token(auth, key_pair, tmp_path)


def _check_own_token(auth: FlaskClient, key_pair: KeyPair, tmp_path: Path) -> None:
    credentials = add_client(auth, "reports", "--scope", "courses:read")
    token = auth.post("/token", data=FORM, auth=credentials).get_json()["access_token"]

    with serve_issuer() as issuer:
        path = "/.well-known/status-list"

        def publish() -> None:
            issuer.pages = {page: auth.get(page).data for page in (path, f"{path}/1")}

        publish()
        with open_course(
            f"sqlite:///{tmp_path}/course.db",
            key_pair,
            status_claim="required",
            status_lists_url=issuer.url.replace("/.well-known/jwks.json", "").replace("/jwks.json", "")
            + path,
            copies=tmp_path,
        ) as course:
            assert course.get("/courses", headers=bearer(token)).status_code == 200
            auth.post("/revoke", data={"token": token}, auth=credentials)
            publish()

            wait_for(lambda: course.get("/courses", headers=bearer(token)).status_code == 401, seconds=60)
