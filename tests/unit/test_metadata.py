"""The authorization server's metadata (RFC 8414) describes what the server really does."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from auth_app.accounts.roles import ROLES
from tests.assertions import add_signing_client, assertion_form
from tests.conftest import add_client, log_in
from tests.forger import COURSES, ISSUER, NEWCOMER, Forger


@pytest.fixture
def metadata(auth: FlaskClient) -> dict[str, Any]:
    response = auth.get("/.well-known/oauth-authorization-server")
    assert isinstance(response.json, dict)
    return response.json


def test_metadata_has_exactly_the_expected_members(metadata: dict[str, Any]) -> None:
    assert set(metadata) == {
        "issuer",
        "authorization_endpoint",
        "authorization_response_iss_parameter_supported",
        "backchannel_logout_session_supported",
        "backchannel_logout_supported",
        "claims_parameter_supported",
        "claims_supported",
        "code_challenge_methods_supported",
        "end_session_endpoint",
        "id_token_signing_alg_values_supported",
        "introspection_endpoint_auth_signing_alg_values_supported",
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "response_modes_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
        "subject_types_supported",
        "token_endpoint_auth_signing_alg_values_supported",
        "userinfo_endpoint",
        "token_endpoint",
        "jwks_uri",
        "revocation_endpoint",
        "introspection_endpoint",
        "grant_types_supported",
        "response_types_supported",
        "scopes_supported",
        "token_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_methods_supported",
        "protected_resources",
        "service_documentation",
        "status_list_aggregation_endpoint",
    }


def test_issuer_is_the_configured_one(metadata: dict[str, Any]) -> None:
    assert metadata["issuer"] == ISSUER


@pytest.mark.parametrize(
    ("member", "method", "status"),
    [
        ("authorization_endpoint", "GET", 400),
        ("end_session_endpoint", "GET", 303),
        ("userinfo_endpoint", "GET", 401),
        ("token_endpoint", "POST", 415),
        ("revocation_endpoint", "POST", 415),
        ("introspection_endpoint", "POST", 415),
        ("jwks_uri", "GET", 200),
        ("service_documentation", "GET", 200),
    ],
)
def test_endpoint_exists(
    member: str, method: str, status: int, metadata: dict[str, Any], auth: FlaskClient
) -> None:
    assert metadata[member].startswith(ISSUER)

    assert auth.open(metadata[member].removeprefix(ISSUER), method=method).status_code == status


def test_grant_types_supported_are_exactly_those_that_are_accepted(
    metadata: dict[str, Any], auth: FlaskClient
) -> None:
    tried = ["password", "refresh_token", "client_credentials", "authorization_code", "implicit", "x"]
    credentials = add_client(auth)
    for grant_type in tried:
        form = {"grant_type": grant_type, "username": "x", "password": "x", "refresh_token": "x"}
        answer = auth.post("/token", data=form, auth=credentials).json
        assert answer
        is_supported = answer.get("error") != "unsupported_grant_type"
        assert is_supported == (grant_type in metadata["grant_types_supported"]), grant_type


def test_oauth_and_openid_metadata_are_the_same_document(metadata: dict[str, Any], auth: FlaskClient) -> None:
    assert auth.get("/.well-known/openid-configuration").json == metadata


def test_scopes_supported_are_exactly_those_that_can_be_granted(
    metadata: dict[str, Any], auth: FlaskClient
) -> None:
    granted = {scope for role in ROLES for scope in log_in(auth, f"{role}1")["scope"].split()}

    identity = {"openid", "profile", "email", "roles", "offline_access"}
    assert set(metadata["scopes_supported"]) == granted | identity


@pytest.mark.parametrize(
    ("member", "path", "form"),
    [
        (
            "token_endpoint_auth_methods_supported",
            "/token",
            {"username": "student1", "password": "password123"},
        ),
        ("revocation_endpoint_auth_methods_supported", "/revoke", {"token": "x"}),
        ("introspection_endpoint_auth_methods_supported", "/introspect", {"token": "x"}),
    ],
)
def test_auth_methods_supported_are_exactly_those_that_work(
    member: str,
    path: str,
    form: dict[str, str],
    metadata: dict[str, Any],
    auth: FlaskClient,
    attacker: Forger,
    tmp_path: Path,
) -> None:
    client_id, secret = add_client(auth)
    add_signing_client(auth, attacker, tmp_path, "--grant", "password")
    ways: dict[str, dict[str, Any]] = {
        "client_secret_basic": {"data": form, "auth": (client_id, secret)},
        "client_secret_post": {"data": form | {"client_id": client_id, "client_secret": secret}},
        "private_key_jwt": {"data": form | assertion_form(attacker)},
        "none": {"data": form},
    }

    working = [way for way, request in ways.items() if auth.post(path, **request).status_code == 200]

    assert metadata[member] == working


def test_status_list_aggregation_endpoint_returns_the_lists(
    metadata: dict[str, Any], auth: FlaskClient
) -> None:
    path = metadata["status_list_aggregation_endpoint"].removeprefix(ISSUER)

    assert auth.get(path).json == {"status_lists": [f"{ISSUER}{path}/1"]}


def test_protected_resources_are_the_resource_servers(metadata: dict[str, Any]) -> None:
    assert metadata["protected_resources"] == [COURSES, NEWCOMER]
