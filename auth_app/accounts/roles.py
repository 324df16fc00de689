"""Define the roles and the scopes of each: the only source of a user's scopes."""

from collections.abc import Iterable

ROLES = {
    "student": frozenset({"courses:read", "enrolments:write"}),
    "teacher": frozenset({"courses:read", "enrolments:write", "courses:write"}),
    "admin": frozenset({"courses:read", "enrolments:write", "courses:write", "users:manage"}),
}
SCOPES = frozenset().union(*ROLES.values())

# The scopes of OpenID Connect, which need no role (Core sections 3.1.2.1, 5.4 and 11).
IDENTITY_SCOPES = frozenset({"openid", "profile", "email", "roles", "offline_access"})

# The role of users who register themselves.
DEFAULT_ROLE = "student"


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the scopes of all `roles` together. An unknown role has none."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))
