"""Say how access tokens look where issuers differ: RFC 9068 unless a profile says otherwise."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Profile:
    """The differences that an issuer's access tokens may have from RFC 9068; each is a choice of its own."""

    token_types: Set[str | None] = frozenset({"at+jwt"})  # `typ` of the header in lower case; None: absent
    client_claim: str = "client_id"
    token_id_claim: str = "jti"  # noqa: S105
    scope_claim: str = "scope"  # a string with spaces, or a list of strings
    maximum_lifetime: int = 3600  # seconds from `iat` to `exp`
    required_values: Mapping[str, str] = field(default_factory=dict)  # claims, and the values they must have


RFC9068 = Profile()
