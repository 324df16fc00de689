"""Read the claims of a verified token by the names that its issuer gives them."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flask_resource_server.tokens.profiles import Profile


class VerifiedClaims(Mapping[str, Any]):
    """The claims of a token that has passed every check, as a read-only mapping.

    Properties hide where issuers differ; the mapping holds every claim as the issuer named it. Objects in it
    are read-only mappings and lists are tuples, at every depth: requests with the same token share one
    object. `claims` is not copied: it belongs to the new object from then on.
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
        # In logs and tracebacks: no other claim, and nothing that steers a terminal.
        return f"<VerifiedClaims subject={self.subject!a} client_id={self.client_id!a}>"

    def to_dict(self) -> dict[str, Any]:
        """Return a copy that is the caller's own, at every depth."""
        claims: dict[str, Any] = _copy(self._claims)
        return claims

    @property
    def subject(self) -> str:
        """Return whose token it is: a user's ID, or that of a client which acts for itself."""
        subject: str = self._claims["sub"]
        return subject

    @property
    def issuer(self) -> str:
        """Return the URL of the issuer."""
        issuer: str = self._claims["iss"]
        return issuer

    @property
    def audience(self) -> tuple[str, ...]:
        """Return the services that the token is for, also where the issuer names a single one."""
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
        """Return the ID of the login that the token came of, or None: a client's own token has none."""
        session_id = self._claims.get("sid")  # no check is made on it
        return session_id if isinstance(session_id, str) else None


def _freeze(value: Any) -> Any:
    """Return a JSON value in which nothing can be changed."""
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(member) for name, member in value.items()})
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    return value


def _copy(value: dict[str, Any] | list[Any]) -> Any:
    """Return a copy of a JSON object or array."""
    if isinstance(value, list):
        return [_copy(item) if isinstance(item, dict | list) else item for item in value]
    return {
        name: _copy(member) if isinstance(member, dict | list) else member for name, member in value.items()
    }
