"""docs/reference/tokens.md lists the claims of each kind of token that auth_app issues, and no others."""

import re
from collections.abc import Callable

import jwt
from flask.testing import FlaskClient

from auth_app.oauth.backchannel_logout import LOGOUT_TOKEN_TYPE
from flask_resource_server.tokens.checks import LEEWAY, MAXIMUM_LENGTH, MAXIMUM_LIFETIME
from tests.conftest import KeyPair, open_auth
from tests.receivers import serve_receiver
from tests.servers import ROOT, wait_for
from tests.sign_in import add_application, fields_of, get_tokens, sign_in

PAGE = (ROOT / "docs/reference/tokens.md").read_text()


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def claims_in(heading: str) -> set[str]:
    rows = re.findall(r"^\| (`.*?`) \|", section(heading), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


def type_in(heading: str) -> str:
    (found,) = re.findall(r"^`typ` is `(.*?)`", section(heading), re.MULTILINE)
    return str(found)


def read(token: str) -> tuple[str, set[str]]:
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.get_unverified_header(token)["typ"], set(claims)


def test_page_lists_the_claims_of_a_users_tokens(auth: FlaskClient) -> None:
    application = add_application(auth)
    sign_in(auth)
    tokens = get_tokens(auth, application, scope="openid offline_access courses:read", nonce="n-0S6_WzA2Mj")

    for heading, name in {"Access token": "access_token", "ID token": "id_token"}.items():
        assert read(tokens[name]) == (type_in(heading), claims_in(heading))
    assert f"A refresh token is {len(tokens['refresh_token'])} random characters" in PAGE


def test_page_says_which_claims_a_clients_own_token_lacks(auth: FlaskClient) -> None:
    add = auth.application.test_cli_runner().invoke
    secret = re.findall(
        r"client_secret +(\S+)", add(args=["clients", "add", "job", "--scope", "courses:read"]).output
    )[0]
    answer = auth.post("/token", data={"grant_type": "client_credentials"}, auth=("job", secret)).json

    assert answer
    _, claims = read(answer["access_token"])
    lacking = re.findall(r"^\| `(\w+)` \|.*absent from a client's own token", PAGE, re.MULTILINE)
    assert claims == claims_in("Access token") - set(lacking)


def test_page_lists_the_claims_of_a_status_list(auth: FlaskClient) -> None:
    answer = auth.post("/token", data={"username": "student1", "password": "password123"}).json
    assert answer
    status = jwt.decode(answer["access_token"], options={"verify_signature": False})["status"]
    path = re.sub(r"https?://[^/]*", "", status["status_list"]["uri"])

    assert read(auth.get(path).text) == (type_in("Status list"), claims_in("Status list"))


def test_page_lists_the_claims_of_a_logout_token(new_database: Callable[[], str], key_pair: KeyPair) -> None:
    networks = {"backchannel_logout_networks": "127.0.0.0/8"}
    with serve_receiver() as receiver, open_auth(new_database(), key_pair, **networks) as auth:
        application = add_application(auth, "web", "--backchannel-logout-uri", f"{receiver.url}/logout")
        sign_in(auth)
        get_tokens(auth, application)
        auth.post("/logout", data=fields_of(auth.get("/logout")))
        wait_for(lambda: len(receiver.tokens()) == 1)

        assert read(receiver.tokens()[0]) == (LOGOUT_TOKEN_TYPE, claims_in("Logout token"))
    assert type_in("Logout token") == LOGOUT_TOKEN_TYPE


def test_page_states_the_limits_of_the_checks() -> None:
    assert f"at most {MAXIMUM_LENGTH:,} characters" in PAGE
    assert f"differ by {LEEWAY} seconds" in PAGE.replace("\n   ", " ")
    assert MAXIMUM_LIFETIME == 3600
    assert "at most an hour from `iat` to `exp`" in PAGE
