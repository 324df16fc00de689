"""Say which scopes a role has: the one table from which every user's scopes come."""

from collections.abc import Iterable

ROLES = {
    "student": frozenset({"courses:read", "enrolments:write"}),
    "teacher": frozenset({"courses:read", "enrolments:write", "courses:write"}),
    "admin": frozenset({"courses:read", "enrolments:write", "courses:write", "users:manage"}),
}
SCOPES = frozenset().union(*ROLES.values())

# What an application may learn about who signs in (OpenID Connect Core sections 3.1.2.1, 5.4 and 11).
IDENTITY_SCOPES = frozenset({"openid", "profile", "email", "roles", "offline_access"})

# What somebody is who registers without anybody's help.
DEFAULT_ROLE = "student"


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the scopes of all `roles` together; a role that the table does not know has none."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))
