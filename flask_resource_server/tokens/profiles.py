"""Types, claims, scopes and maximum lifetime of access tokens: RFC 9068, Keycloak, Auth0, Okta, Entra ID.

A profile is as strict as RFC 9068 by default, and each difference is a field. To change one, copy a profile:
`dataclasses.replace(OKTA, maximum_lifetime=86_400)`. An issuer signs ID tokens with the same keys as access
tokens. If both may have the same `typ`, the profile must name claims that tell them apart.

`maximum_lifetime` is the issuer's default, not the longest lifetime that it can be configured to.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

TOKEN_TYPE = "at+jwt"  # noqa: S105  # RFC 9068 section 2.1

# Claims that OpenID Connect Core defines for ID tokens alone (sections 2 and 3.3.2.11).
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})


_LONGEST_HEADER = 8000  # characters that servers such as gunicorn and nginx accept in one header


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The format of an issuer's access tokens. The defaults are those of RFC 9068."""

    token_types: Set[str | None] = frozenset({TOKEN_TYPE})  # `typ` of the header in lower case; None: absent
    client_claim: str = "client_id"
    token_id_claim: str | None = "jti"  # noqa: S105  # None: tokens may have no ID
    scope_claim: str = "scope"
    scope_type: Literal["string", "list"] = "string"  # a string with spaces, or a list of strings
    maximum_lifetime: int = 3600  # seconds from `iat` to `exp`
    maximum_length: int = 4096  # characters of an encoded token
    required_values: Mapping[str, str] = field(default_factory=dict)  # claims and the values they must have
    values_if_present: Mapping[str, str] = field(
        default_factory=dict
    )  # the same for claims that may be absent
    required_any: Set[str] = frozenset()  # claims of which at least one must be present
    forbidden_claims: Set[str] = frozenset()

    @property
    def required_names(self) -> list[str]:
        """Return the names of the claims that must be non-empty strings."""
        return [name for name in ("sub", self.token_id_claim, self.client_claim) if name]

    def is_scope(self, value: Any) -> bool:
        """Return whether a value has the type that the scope claim must have."""
        if self.scope_type == "list":
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        return isinstance(value, str)

    def describe_types(self) -> str:
        """Return in words what `typ` must be."""
        return " or ".join(sorted(kind or "absent" for kind in self.token_types))

    def describe_claims(self) -> str:
        """Return in words which claims must be present, with which values, and which must be absent."""
        *names, last = self.required_names
        parts = [f"{', '.join(names)} and {last} are non-empty strings"]
        parts += [f"{name} is {value}" for name, value in self.required_values.items()]
        if self.forbidden_claims:
            parts.append(f"there is no {' or '.join(sorted(self.forbidden_claims))}")
        return "; ".join(parts)

    def describe_scope(self) -> str:
        """Return in words what the scope claim must be."""
        kind = "a string" if self.scope_type == "string" else "a list of strings"
        parts = [f"{self.scope_claim}, if present, is {kind}"]
        parts += [f"{name}, if present, is {value}" for name, value in self.values_if_present.items()]
        if self.required_any:
            parts.append(f"{' or '.join(sorted(self.required_any))} is present")
        return "; ".join(parts)


RFC9068 = Profile(
    # flask-jwt-extended marks refresh tokens with another `type`.
    values_if_present=MappingProxyType({"type": "access"}),
)

# Keycloak. Sources: `TokenUtil.java` and `AccessToken.java` in keycloak/keycloak; "Session and Token
# Timeouts" in its Server Administration Guide; the gist "Standard keycloak payload structure example".
# The header's `typ` is JWT, or at+jwt if a client has 'Use "at+jwt" as access token header type' on.
# The claim `typ` distinguishes access tokens: it is "ID" in an ID token, and "Refresh" or "Offline" in a
# refresh token. It is "DPoP" in a token that is bound to a key; such tokens are refused, because no proof of
# possession is checked here.
KEYCLOAK = Profile(
    maximum_length=_LONGEST_HEADER,
    token_types=frozenset({"jwt", TOKEN_TYPE}),
    client_claim="azp",
    required_values=MappingProxyType({"typ": "Bearer"}),
)

# Auth0's own token profile, the default for an API. Sources: "Access Token Profiles", "ID Token Structure",
# "Create Custom Claims" and "Update Access Token Lifetime" in its documentation. An API that is set to
# Auth0's RFC 9068 profile needs RFC9068 here. The issuer's URL ends with a slash.
# An ID token has no `azp`, and no Action can add one, because Auth0 reserves the name. The forbidden claims
# are a second line of defence: Auth0 reserves those too. Forbidding `typ` refuses Keycloak's ID tokens, which
# have `azp`, if someone sets the wrong profile.
AUTH0 = Profile(
    maximum_length=_LONGEST_HEADER,
    token_types=frozenset({"jwt"}),
    client_claim="azp",
    token_id_claim=None,
    maximum_lifetime=86_400,
    forbidden_claims=_ID_TOKEN_CLAIMS | {"typ"},
)

# Okta's custom authorization servers, "default" among them. Sources: "OAuth 2.0 API" in its reference
# ("Reserved claims in the header section" and "... in the payload section"); "Lifetime of the Okta Minted
# JSON Web Tokens (JWT)" in its knowledge base. The header has `alg` and `kid`, and nothing else. Tokens of
# the org authorization server have the `typ` application/okta-internal-at+jwt. They are meant for Okta's own
# APIs and are refused.
# An ID token has neither `cid` nor `scp`, and no administrator can add them, because Okta reserves the names.
OKTA = Profile(
    maximum_length=_LONGEST_HEADER,
    token_types=frozenset({None}),
    client_claim="cid",
    scope_claim="scp",
    scope_type="list",
    required_any=frozenset({"scp"}),
    forbidden_claims=_ID_TOKEN_CLAIMS,
)

# Microsoft Entra ID, tokens of version 2.0 (`accessTokenAcceptedVersion` 2). Sources: "Access token claims
# reference", "ID token claims reference" and "Access tokens in the Microsoft identity platform".
# An API and its client may be one app registration. Then an ID token has the same `aud` as an access token,
# but neither `azp` nor `scp`. The token of an application that acts for itself has no `scp` either, but has
# `roles`. If both are missing, the client was granted nothing: Entra issues such tokens to every application
# of the tenant.
ENTRA = Profile(
    maximum_length=_LONGEST_HEADER,
    token_types=frozenset({"jwt"}),
    client_claim="azp",
    token_id_claim="uti",  # noqa: S106
    scope_claim="scp",
    # Documented as a random time of 60 to 90 minutes; the published example of an hour has 65 minutes from
    # `iat` to `exp`.
    maximum_lifetime=95 * 60,
    required_values=MappingProxyType({"ver": "2.0"}),
    required_any=frozenset({"scp", "roles"}),
    forbidden_claims=_ID_TOKEN_CLAIMS,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {"rfc9068": RFC9068, "keycloak": KEYCLOAK, "auth0": AUTH0, "okta": OKTA, "entra": ENTRA}
)
