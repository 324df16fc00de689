"""Say which scopes a role has: the one table from which every token's scopes come."""

from collections.abc import Iterable

ROLES = {
    "student": frozenset({"courses:read"}),
    "teacher": frozenset({"courses:read", "courses:write"}),
}


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the scopes of all `roles` together; a role that the table does not know has none."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))
