"""Tokens of Keycloak, Auth0, Okta and Entra as documented: what each profile accepts, and what it refuses.

The examples have the members of the published ones (`profiles.py` names the pages), with current times.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flask_resource_server.tokens.checks import CHECKS, Expected, find_faults
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.jws import parse_jws
from flask_resource_server.tokens.profiles import AUTH0, ENTRA, KEYCLOAK, OKTA, PROFILES, RFC9068, Profile
from tests.forger import ABSENT, Forger
from tests.token_rows import now

Claims = dict[str, Any]

OKTA_CLIENT = "nmdP1fcyvdVO11AL7ECm"
ENTRA_API = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
ENTRA_CLIENT = "75dbe77f-10a3-4e59-85fd-8c127544f17c"


@dataclass(frozen=True)
class Example:
    """A published access token, and the checks that it fails under RFC 9068."""

    header: Claims
    claims: Claims
    lifetime: int
    reasons: list[str]  # of the checks that it fails under RFC9068
    properties: tuple[str, str | None, frozenset[str] | set[str]]  # client, token ID and scopes
    id_token: Claims  # what differs in the same issuer's ID token, requested without a nonce


KEYCLOAK_EXAMPLE = Example(
    header={"typ": "JWT"},
    claims={
        "jti": "d58f5dc8-fd8f-462b-8a19-716f8f83985b",
        "iss": "http://localhost:6080/realms/something",
        "aud": ["courses", "account"],
        "sub": "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
        "typ": "Bearer",
        "azp": "something",
        "acr": "1",
        "allowed-origins": ["http://localhost:6080"],
        "realm_access": {"roles": ["offline_access", "default-roles", "uma_authorization"]},
        "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
        "scope": "email profile",
        "sid": "2a88c258-f73a-4103-b862-e1fbd8f4e04e",
        "email_verified": True,
        "preferred_username": "username",
        "email": "some@thing.com",
    },
    lifetime=300,
    reasons=["typ", "claims"],
    properties=("something", "d58f5dc8-fd8f-462b-8a19-716f8f83985b", {"email", "profile"}),
    # Keycloak's has `azp`, and an audience mapper may add the service's own name to its `aud`.
    id_token={"typ": "ID", "scope": ABSENT},
)
AUTH0_EXAMPLE = Example(
    header={"typ": "JWT"},
    claims={
        "iss": "https://my-domain.auth0.com/",
        "sub": "auth0|123456",
        "aud": ["https://example.com/health-api", "https://my-domain.auth0.com/userinfo"],
        "azp": "my_client_id",
        "scope": "openid profile read:patients read:admin",
        "my_custom_claim": "my_custom_value",
    },
    lifetime=86_400,
    reasons=["typ", "lifetime", "claims"],
    properties=("my_client_id", None, {"openid", "profile", "read:patients", "read:admin"}),
    id_token={"azp": ABSENT, "scope": ABSENT, "name": "Jane Doe", "email": "janedoe@example.com"},
)
OKTA_EXAMPLE = Example(
    header={"typ": ABSENT},
    claims={
        "ver": 1,
        "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "iss": "https://your-org.okta.com/oauth2/0oacqf8qaJw56czJi0g4",
        "aud": "https://api.you-company.com",
        "sub": "00ujmkLgagxeRrAg20g3",
        "cid": OKTA_CLIENT,
        "uid": "00ujmkLgagxeRrAg20g3",
        "scp": ["openid", "email", "flights", "custom"],
        "flight_number": "AX102",
    },
    lifetime=3600,
    reasons=["typ", "claims"],
    properties=(
        OKTA_CLIENT,
        "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        {"openid", "email", "flights", "custom"},
    ),
    id_token={
        "cid": ABSENT,
        "uid": ABSENT,
        "scp": ABSENT,
        "jti": "ID.T-ngjNl193t6rg3_eXifJatKDhLPviN8NG02wJLWf2g",
        "amr": ["mfa", "pwd"],
        "auth_time": 1573756969,
    },
)
ENTRA_EXAMPLE = Example(
    header={"typ": "JWT"},
    claims={
        "aud": ENTRA_API,
        "iss": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
        "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB7eBq4/DccQzjcJGxPYy/C3jDaNGxXd6wNIIVGRghNRnwJ1lOcAnNZcjv",
        "azp": ENTRA_API,  # the API and its client are one app registration
        "azpacr": "0",
        "name": "Abe Lincoln",
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "preferred_username": "abeli@microsoft.com",
        "rh": "I",
        "scp": "access_as_user",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0",
    },
    lifetime=3900,
    reasons=["typ", "lifetime", "claims"],
    properties=(ENTRA_API, "fqiBqXLPj0eQa82S-IYFAA", {"access_as_user"}),
    # An ID token may also contain the user's roles in the API.
    id_token={"azp": ABSENT, "azpacr": ABSENT, "scp": ABSENT, "roles": ["Reader"]},
)
# Changes that make Entra's example the token of an application acting for itself.
ENTRA_APP_ONLY = {"scp": ABSENT, "azp": ENTRA_CLIENT, "roles": ["Tasks.Read.All"], "name": ABSENT}

EXAMPLES = {
    "keycloak": KEYCLOAK_EXAMPLE,
    "auth0": AUTH0_EXAMPLE,
    "okta": OKTA_EXAMPLE,
    "entra": ENTRA_EXAMPLE,
}


def make_token(forger: Forger, example: Example, header: Claims | None = None, **changes: Any) -> str:
    issued_at = now()
    claims = example.claims | {"iat": issued_at, "exp": issued_at + example.lifetime} | changes
    kept = {name: value for name, value in claims.items() if value is not ABSENT}
    return forger.sign_payload(json.dumps(kept).encode(), example.header | (header or {}))


def failed_checks(token: str, forger: Forger, example: Example, profile: Profile) -> list[str]:
    audience = example.claims["aud"]
    audiences = frozenset({audience if isinstance(audience, str) else audience[0]})
    keys = {forger.kid: forger.key.public_key()}
    expected = Expected(keys, example.claims["iss"], audiences, profile)
    return [check.reason for check, fault in find_faults(parse_jws(token), expected) if fault]


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_example_is_accepted_under_its_profile(name: str, forger: Forger) -> None:
    example = EXAMPLES[name]

    assert failed_checks(make_token(forger, example), forger, example, PROFILES[name]) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_example_is_refused_under_rfc_9068(name: str, forger: Forger) -> None:
    example = EXAMPLES[name]

    assert failed_checks(make_token(forger, example), forger, example, RFC9068) == example.reasons


@pytest.mark.parametrize("name", EXAMPLES)
def test_claims_of_a_published_example_are_read_by_its_profile(name: str) -> None:
    example = EXAMPLES[name]

    claims = VerifiedClaims(example.claims, PROFILES[name])

    assert (claims.client_id, claims.token_id, set(claims.scopes)) == example.properties


@pytest.mark.parametrize("name", EXAMPLES)
def test_id_token_is_refused_even_if_its_audience_is_the_service(name: str, forger: Forger) -> None:
    example = EXAMPLES[name]

    token = make_token(forger, example, **example.id_token)

    assert failed_checks(token, forger, example, PROFILES[name])[:1] == ["claims"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_id_token_is_refused_under_the_profile_of_any_issuer(name: str, profile: str, forger: Forger) -> None:
    example = EXAMPLES[name]

    # PROFILE may be wrong, and must not turn an ID token into an access token.
    token = make_token(forger, example, **example.id_token)

    assert "claims" in failed_checks(token, forger, example, PROFILES[profile])


def lifetime(seconds: int) -> Claims:
    issued_at = now()
    return {"iat": issued_at, "exp": issued_at + seconds}


# What else each profile accepts: members of the header, then claims.
ALSO_ACCEPTED: dict[tuple[str, str], tuple[Claims, Claims]] = {
    ("keycloak", "typ at+jwt, a setting of the client"): ({"typ": "at+jwt"}, {}),
    ("keycloak", "a service account"): ({}, {"client_id": "something", "sid": ABSENT}),
    ("keycloak", "nonce, as before version 25"): ({}, {"nonce": "n"}),
    ("keycloak", "a mapper's claim named type"): ({}, {"type": "student"}),
    ("auth0", "a machine's token without scopes"): ({}, {"scope": ABSENT, "gty": "client-credentials"}),
    ("auth0", "a jti"): ({}, {"jti": "73WakrfVbNJBaAmhQtEeDv"}),
    ("okta", "a service's token"): ({}, {"sub": OKTA_CLIENT, "uid": ABSENT}),
    ("entra", "an application acting for itself"): ({}, ENTRA_APP_ONLY),
    ("entra", "a user with roles"): ({}, {"roles": ["Reader"]}),
    ("entra", "the longest lifetime"): ({}, lifetime(95 * 60)),
    ("keycloak", "the longest lifetime"): ({}, lifetime(3600)),
    ("auth0", "the longest lifetime"): ({}, lifetime(86_400)),
    ("okta", "the longest lifetime"): ({}, lifetime(3600)),
}


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for (name, _), change in ALSO_ACCEPTED.items()],
    ids=[": ".join(key) for key in ALSO_ACCEPTED],
)
def test_documented_variant_is_accepted(name: str, change: tuple[Claims, Claims], forger: Forger) -> None:
    header, claims = change
    token = make_token(forger, EXAMPLES[name], header, **claims)

    assert failed_checks(token, forger, EXAMPLES[name], PROFILES[name]) == []


def header_rows(*types: Any) -> dict[str, tuple[str, Claims, Claims]]:
    return {f"typ {'absent' if typ is ABSENT else ascii(typ)}": ("typ", {"typ": typ}, {}) for typ in types}


def claim_rows(reason: str, name: str, *values: Any) -> dict[str, tuple[str, Claims, Claims]]:
    return {
        f"{name} {'absent' if value is ABSENT else ascii(value)}": (reason, {}, {name: value})
        for value in values
    }


# By profile: the only check that fails, members of the header, and claims.
REFUSED: dict[str, dict[str, tuple[str, Claims, Claims]]] = {
    "keycloak": {
        **header_rows(ABSENT, None, "logout+jwt", ["JWT"], "statuslist+jwt"),
        **claim_rows("claims", "azp", ABSENT, None, "", 1, ["something"]),
        **claim_rows("claims", "jti", ABSENT, ""),
        **claim_rows("claims", "sub", ABSENT, ""),
        **claim_rows(
            "claims", "typ", ABSENT, None, "ID", "Refresh", "Offline", "Logout", "DPoP", "bearer", ["Bearer"]
        ),
        **claim_rows("scope_claim", "scope", None, 1, ["email"]),
        "lifetime too long": ("lifetime", {}, lifetime(3601)),
        "client_id instead of azp": ("claims", {}, {"azp": ABSENT, "client_id": "something"}),
        "alg RS384": ("alg", {"alg": "RS384"}, {}),
    },
    "auth0": {
        **header_rows(ABSENT, None, "at+jwt", "logout+jwt", 1),
        **claim_rows("claims", "azp", ABSENT, None, "", 1),
        **claim_rows("claims", "sub", ABSENT, ""),
        **claim_rows("claims", "nonce", "n", None),
        **claim_rows("claims", "at_hash", "77QmUPtjPfzWtF2AnpK9RQ"),
        **claim_rows("claims", "c_hash", "LDktKdoQak3Pk0cnXxCltA"),
        **claim_rows("scope_claim", "scope", None, ["openid"]),
        "lifetime too long": ("lifetime", {}, lifetime(86401)),
        **claim_rows("iss", "iss", "https://my-domain.auth0.com"),  # without its slash
    },
    "okta": {
        **header_rows("JWT", "at+jwt", "application/okta-internal-at+jwt", None, ""),
        **claim_rows("claims", "cid", ABSENT, None, "", 1),
        **claim_rows("claims", "jti", ABSENT, 1),
        **claim_rows("claims", "sub", ABSENT, ""),
        **claim_rows("claims", "nonce", "n"),
        **claim_rows(
            "scope_claim", "scp", ABSENT, None, [], "openid email", [1], ["openid", None], {"openid": 1}
        ),
        "lifetime too long": ("lifetime", {}, lifetime(3601)),
        "scope instead of scp": ("scope_claim", {}, {"scp": ABSENT, "scope": "openid"}),
        "client_id instead of cid": ("claims", {}, {"cid": ABSENT, "client_id": OKTA_CLIENT}),
    },
    "entra": {
        **header_rows(ABSENT, None, "at+jwt", "pop"),
        **claim_rows("claims", "azp", ABSENT, None, "", 1),
        **claim_rows("claims", "uti", ABSENT, ""),
        **claim_rows("claims", "sub", ABSENT, ""),
        **claim_rows("claims", "ver", ABSENT, "1.0", 2.0),
        **claim_rows("claims", "nonce", "n"),
        **claim_rows("scope_claim", "scp", ABSENT, None, "", ["access_as_user"]),
        "lifetime too long": ("lifetime", {}, lifetime(5701)),
        "jti instead of uti": ("claims", {}, {"uti": ABSENT, "jti": "x"}),
        "an application without roles": ("scope_claim", {}, ENTRA_APP_ONLY | {"roles": ABSENT}),
        "an application with an empty list of roles": ("scope_claim", {}, ENTRA_APP_ONLY | {"roles": []}),
        "appid instead of azp, as in version 1.0": ("claims", {}, {"azp": ABSENT, "appid": ENTRA_CLIENT}),
    },
}


@pytest.mark.parametrize(
    ("name", "row"),
    [(name, row) for name, rows in REFUSED.items() for row in rows.values()],
    ids=[f"{name}: {row}" for name, rows in REFUSED.items() for row in rows],
)
def test_other_token_from_the_issuer_is_refused(
    name: str, row: tuple[str, Claims, Claims], forger: Forger
) -> None:
    reason, header, claims = row
    token = make_token(forger, EXAMPLES[name], header, **claims)

    assert failed_checks(token, forger, EXAMPLES[name], PROFILES[name]) == [reason]


def test_profiles_have_lower_case_names() -> None:
    assert set(PROFILES) == {"rfc9068", *EXAMPLES}
    assert [PROFILES[name] for name in EXAMPLES] == [KEYCLOAK, AUTH0, OKTA, ENTRA]


def test_default_profile_is_rfc_9068() -> None:
    assert Expected({}).profile is RFC9068
    assert replace(RFC9068, values_if_present={}) == Profile()


@pytest.mark.parametrize("profile", [RFC9068, KEYCLOAK], ids=["RFC 9068", "Keycloak"])
def test_refresh_token_type_is_refused_only_under_rfc_9068(profile: Profile, forger: Forger) -> None:
    faults = failed_checks(
        make_token(forger, KEYCLOAK_EXAMPLE, type="refresh"), forger, KEYCLOAK_EXAMPLE, profile
    )

    assert ("scope_claim" in faults) == (profile is RFC9068)


def test_single_profile_setting_can_be_overridden(forger: Forger) -> None:
    token = make_token(forger, OKTA_EXAMPLE, exp=now(86_400))

    assert failed_checks(token, forger, OKTA_EXAMPLE, OKTA) == ["lifetime"]
    assert failed_checks(token, forger, OKTA_EXAMPLE, replace(OKTA, maximum_lifetime=86_400)) == []


DESCRIPTIONS: Mapping[str, list[str]] = {
    "rfc9068": [
        "typ is at+jwt",
        "its lifetime is at most 3600 seconds",
        "sub, jti and client_id are non-empty strings",
        "scope, if present, is a string; type, if present, is access",
    ],
    "keycloak": [
        "typ is at+jwt or jwt",
        "its lifetime is at most 3600 seconds",
        "sub, jti and azp are non-empty strings; typ is Bearer",
        "scope, if present, is a string",
    ],
    "auth0": [
        "typ is jwt",
        "its lifetime is at most 86400 seconds",
        "sub and azp are non-empty strings; there is no at_hash or c_hash or nonce or typ",
        "scope, if present, is a string",
    ],
    "okta": [
        "typ is absent",
        "its lifetime is at most 3600 seconds",
        "sub, jti and cid are non-empty strings; there is no at_hash or c_hash or nonce",
        "scp, if present, is a list of strings; scp is present",
    ],
    "entra": [
        "typ is jwt",
        "its lifetime is at most 5700 seconds",
        "sub, uti and azp are non-empty strings; ver is 2.0; there is no at_hash or c_hash or nonce",
        "scp, if present, is a string; roles or scp is present",
    ],
}


@pytest.mark.parametrize("name", PROFILES)
def test_check_descriptions_follow_the_profile(name: str) -> None:
    expected = Expected({}, profile=PROFILES[name])
    reasons = ("typ", "lifetime", "claims", "scope_claim")

    described = [check.describe(expected) for check in CHECKS if check.reason in reasons]

    assert described == DESCRIPTIONS[name]


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"iss": "http://b"}, "ISSUER"),
        ({"aud": ["http://a"]}, "RESOURCE"),
        ({"exp": now(90_000)}, "PROFILE"),
        ({"client_id": ABSENT, "azp": "x"}, "PROFILE"),
        ({"scope": ["courses:read"]}, "PROFILE"),
    ],
    ids=["issuer", "audience", "lifetime", "client", "scope"],
)
def test_advice_names_the_setting(changes: Claims, setting: str, forger: Forger) -> None:
    token = parse_jws(forger.sign(**changes))
    expected = Expected(
        {forger.kid: forger.key.public_key()}, "http://127.0.0.1:8081", {"http://127.0.0.1:8082"}
    )

    assert [setting in fault for _, fault in find_faults(token, expected) if fault] == [True]
