"""The claims of a verified token, with properties that work alike for every issuer."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flask_resource_server.tokens.profiles import Profile


class VerifiedClaims(Mapping[str, Any]):
    """The claims of a token that has passed every check, as a read-only mapping.

    The mapping holds every claim under the issuer's own name for it; the properties hide where issuers
    differ. Requests with the same token share one object, so nothing in it can be changed: nested objects
    are read-only mappings, and lists are tuples. The constructor takes over `claims` without copying it.
    """

    __slots__ = ("_claims", "_profile", "_scopes")

    def __init__(self, claims: dict[str, Any], profile: Profile) -> None:
        self._claims = claims
        self._profile = profile
        self._scopes: frozenset[str] | None = None

    def __getitem__(self, name: str) -> Any:
        return _freeze(self._claims[name])

    def __contains__(self, name: object) -> bool:
        return name in self._claims

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        # This ends up in logs and tracebacks: show no other claim, and only printable ASCII.
        return f"<VerifiedClaims subject={self.subject!a} client_id={self.client_id!a}>"

    def to_dict(self) -> dict[str, Any]:
        """Return a deep copy, which the caller may change."""
        claims: dict[str, Any] = _copy(self._claims)
        return claims

    @property
    def subject(self) -> str:
        """Return the ID of the user, or of the client if it acts for itself (`sub`)."""
        subject: str = self._claims["sub"]
        return subject

    @property
    def issuer(self) -> str:
        """Return the URL of the issuer."""
        issuer: str = self._claims["iss"]
        return issuer

    @property
    def audience(self) -> tuple[str, ...]:
        """Return the services that the token is for, as a tuple even if the issuer names only one."""
        audience: str | list[str] = self._claims["aud"]
        return (audience,) if isinstance(audience, str) else tuple(audience)

    @property
    def client_id(self) -> str:
        """Return the ID of the client that the token was issued to."""
        client_id: str = self._claims[self._profile.client_claim]
        return client_id

    @property
    def token_id(self) -> str | None:
        """Return the token's own ID, or None if the issuer's tokens have none."""
        name = self._profile.token_id_claim
        return None if name is None else self._claims[name]

    @property
    def scopes(self) -> frozenset[str]:
        """Return the scopes that the token was issued with."""
        if self._scopes is None:
            value: str | list[str] = self._claims.get(self._profile.scope_claim, "")
            # RFC 6749 section 3.3 separates scopes by single spaces.
            self._scopes = frozenset(value.split(" ") if isinstance(value, str) else value) - {""}
        return self._scopes

    @property
    def issued_at(self) -> float:
        """Return when the token was issued, in seconds since the epoch."""
        issued_at: float = self._claims["iat"]
        return issued_at

    @property
    def expires_at(self) -> float:
        """Return when the token expires, in seconds since the epoch."""
        expires_at: float = self._claims["exp"]
        return expires_at

    @property
    def session_id(self) -> str | None:
        """Return the ID of the session that the token belongs to, or None, as for a client's own token."""
        session_id = self._claims.get("sid")  # no check covers this claim
        return session_id if isinstance(session_id, str) else None


def _freeze(value: Any) -> Any:
    """Return an immutable view of a JSON value."""
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(member) for name, member in value.items()})
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    return value


def _copy(value: dict[str, Any] | list[Any]) -> Any:
    """Return a deep copy of a JSON object or array."""
    if isinstance(value, list):
        return [_copy(item) if isinstance(item, dict | list) else item for item in value]
    return {
        name: _copy(member) if isinstance(member, dict | list) else member for name, member in value.items()
    }
