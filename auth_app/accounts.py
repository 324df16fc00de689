"""Manage users: what the users API and the commands have in common."""

import re

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.database import db
from auth_app.errors import UsernameTaken
from auth_app.metrics import LOGINS
from auth_app.models import Session, User
from auth_app.password_rules import check_new_password
from auth_app.passwords import hash_password, verify_password
from auth_app.roles import ROLES
from auth_app.sessions import revoke_sessions
from auth_app.throttle import check_throttle, forget_failures, record_failure
from shared.errors import InvalidRequest

# Small letters only, so that nobody passes for somebody else by an O or a zero of another alphabet.
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


def find_user(username: str) -> User | None:
    """Return the user of a name."""
    return db.session.scalar(select(User).where(User.username == username))


def authenticate_user(username: str, password: str) -> User | None:
    """Return the user of a name and password, None if they are not so or the user is disabled.

    Raises `TooManyAttempts`, and `Unavailable`.
    """
    has_failed = check_throttle(username)
    user = find_user(username)
    matches = verify_password(user.password_hash if user else None, password)
    if user is None or user.is_disabled or not matches:
        # The name that was typed is not recorded where there is no such user: it may be a password.
        LOGINS.labels("failed").inc()
        audit.record("login_failed", actor=user and user.id)
        record_failure(username)
        return None
    if has_failed:
        forget_failures(username)
    return user


def create_user(username: str, password: str, roles: list[str]) -> User:
    """Add a user. Raises `InvalidPassword`, `InvalidRequest` for a bad name or role, and `UsernameTaken`."""
    check_new_password(username, password)
    return add_user(username, hash_password(password), roles)


def add_user(username: str, password_hash: str, roles: list[str]) -> User:
    """Add a user by a hash that is known already. Raises `InvalidRequest` and `UsernameTaken`."""
    if not _USERNAME.fullmatch(username):
        raise InvalidRequest(
            "A user name is 1 to 128 of a-z 0-9 . _ @ + - and begins with a letter or digit."
        )
    _check_roles(roles)
    user = User(username=username, password_hash=password_hash, roles=roles)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:  # the database decides, for two may come at the same time
        db.session.rollback()
        raise UsernameTaken from None
    audit.record("user_created", user=user.id, roles=roles)
    return user


def set_password(user: User, password: str, current: Session | None = None) -> None:
    """Give a user a new password, and end every session but the current one. Raises `InvalidPassword`."""
    check_new_password(user.username, password)
    user.password_hash = hash_password(password)
    db.session.flush()  # the user's row is locked first, as at a login
    revoke_sessions(Session.user_id == user.id, *([Session.id != current.id] if current else []))
    audit.record("password_changed", user=user.id)


def set_roles(user: User, roles: list[str]) -> None:
    """Give a user other roles; tokens follow at their next refresh. Raises `InvalidRequest`."""
    _check_roles(roles)
    user.roles = roles
    db.session.commit()
    audit.record("roles_changed", user=user.id, roles=roles)


def set_disabled(user: User, is_disabled: bool) -> None:
    """Disable a user and end every session, or enable a user again."""
    user.is_disabled = is_disabled
    db.session.flush()
    if is_disabled:
        revoke_sessions(Session.user_id == user.id)
    db.session.commit()
    audit.record("user_disabled" if is_disabled else "user_enabled", user=user.id)


def _check_roles(roles: list[str]) -> None:
    if not set(roles) <= set(ROLES):
        raise InvalidRequest(f"A role is one of {', '.join(ROLES)}.")
