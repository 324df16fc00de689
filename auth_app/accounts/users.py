"""Manage users: authenticate them by password, and create, change and delete them."""

import re
import time
from typing import Unpack

from sqlalchemy import ColumnElement, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.accounts.password_rules import check_new_password
from auth_app.accounts.passwords import hash_password, normalise, parameters_of, verify_password
from auth_app.accounts.roles import ROLES
from auth_app.accounts.session_ends import end_user_sessions
from auth_app.accounts.sessions import find_live_session
from auth_app.accounts.throttle import begin_attempt
from auth_app.accounts.user_profiles import Profile, complete_profile
from auth_app.accounts.usernames import normalise_username
from auth_app.database import db
from auth_app.errors import InvalidPassword, UserChanged, UsernameTaken
from auth_app.metrics import LOGINS
from auth_app.models import BrowserSession, KnownAddress, Session, User
from flask_resource_server import InvalidToken
from shared.errors import InvalidRequest, Unavailable

# ASCII only: look-alike letters of other alphabets would let one user impersonate another.
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")

# What `/userinfo` returns about a user. `updated_at` is when one of these last changed.
_PUBLISHED = ("roles", "name", "email", "email_verified")

# Only administrators' changes increase the version, so that users cannot make those changes fail.
_NEXT_VERSION = User.version + 1


class UserChanges(Profile, total=False):
    """Columns of `User` that administrators can change."""

    roles: list[str]
    is_disabled: bool


_USER = select(User).where(User.username == bindparam("name"), User.deleted_at.is_(None))


def find_user(username: str) -> User | None:
    """Return the user with a name, in any spelling. None if there is none or the user was deleted."""
    return db.session.scalar(_USER, {"name": normalise_username(username)})


def authenticate_user(username: str, password: str, browser: str | None = None) -> User | None:
    """Return the user with this name and password, or None if either is wrong or the user is disabled.

    None always takes the same time. `browser` is the long-lived cookie of a browser. Commits a failed login,
    for the throttle. Raises `TooManyAttempts`, and `Unavailable` if the password could not be verified.
    """
    user = find_user(username)
    attempt = begin_attempt(username, user.id if user else None, browser)
    # Logging in as a disabled user must take as long as a wrong password, even with the right one.
    password_hash = user.password_hash if user and not user.is_disabled else None
    try:
        matches = verify_password(password_hash, password)
    except Unavailable:
        attempt.withdraw()
        raise
    if not matches:
        # If there is no such user, do not record what was typed as the name: it may be a password.
        LOGINS.labels("failed").inc()
        audit.record("login_failed", actor=user and user.id)
        attempt.record()
        return None
    attempt.forget_failures()
    return user


def create_user(username: str, password: str, roles: list[str], **profile: Unpack[Profile]) -> User:
    """Add a user with a password. The caller commits.

    Raises `InvalidPassword`, `UsernameTaken`, and `InvalidRequest` for a bad user name, role or profile.
    """
    check_new_password(username, password)
    complete_profile(profile)  # validate before the expensive hash
    return add_user(username, hash_password(password), roles, **profile)


def add_user(username: str, password_hash: str, roles: list[str], **profile: Unpack[Profile]) -> User:
    """Add a user with an existing password hash. The caller commits.

    Raises `InvalidRequest` and `UsernameTaken`.
    """
    username = normalise_username(username)
    if not _USERNAME.fullmatch(username):
        raise InvalidRequest(
            "A user name must have 1 to 128 of a-z 0-9 . _ @ + - and start with a letter or a digit."
        )
    _check_roles(roles)
    user = User(
        username=username,
        password_hash=password_hash,
        password_parameters=parameters_of(password_hash),
        roles=roles,
        updated_at=int(time.time()),
        **complete_profile(profile),
    )
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:  # checked by the database, because two requests may add the same name at once
        db.session.rollback()
        raise UsernameTaken from None
    audit.record_on_commit("user_created", user=user.id, roles=roles)
    return user


def reset_password(user: User, password: str, *, must_change: bool) -> None:
    """Set a user's password without checking the old one, and end all sessions. The caller commits.

    With `must_change` the user has to choose another one at the next login. Raises `InvalidPassword`, and
    `UserChanged` if the user was deleted in the meantime.
    """
    check_new_password(user.username, password)
    if not _write(user, **_hashed(password), must_change_password=must_change, version=_NEXT_VERSION):
        raise UserChanged
    end_user_sessions(user)
    audit.record_on_commit("password_changed", user=user.id)


def change_password(
    user: User, current: Session | BrowserSession, old: str, new: str, browser: str | None = None
) -> None:
    """Change a user's own password after checking the old one, and end every session but the `current` one.

    The caller commits. Raises `InvalidPassword`, also if the password was changed while `old` was being
    verified, what `authenticate_user` raises, and `InvalidToken` if the current session has ended.
    """
    user_id, username, verified_hash = user.id, user.username, user.password_hash
    if authenticate_user(username, old, browser) is None:
        raise InvalidPassword
    if normalise(new) == normalise(old):
        raise InvalidPassword("The new password must not be the current one.", "password_is_current")
    check_new_password(username, new)
    if not _write(user, User.password_hash == verified_hash, **_hashed(new), must_change_password=False):
        # The password was changed meanwhile: `old` now counts as wrong, as if it had arrived later.
        db.session.rollback()
        begin_attempt(username, user_id, browser).record()
        raise InvalidPassword
    if isinstance(current, Session) and find_live_session(current.id) is None:
        raise InvalidToken
    end_user_sessions(user, keep=current)
    audit.record_on_commit("password_changed", user=user.id)


def change_user(user: User, **changes: Unpack[UserChanges]) -> None:
    """Set the given columns of a user. The caller commits, and then calls `set_pending_bits`.

    Losing a role or being disabled ends all sessions. A new email address is unverified unless
    `email_verified` is given too. Raises `InvalidRequest`, and `UserChanged` if the user has changed since it
    was read.
    """
    roles = changes.get("roles", user.roles)
    _check_roles(roles)
    has_lost = not set(user.roles) <= set(roles)
    values = {**changes, **complete_profile(changes, user.email)}
    changed = [name for name in _PUBLISHED if name in values and values[name] != getattr(user, name)]
    if changed:
        values["updated_at"] = int(time.time())
    if not _write(user, User.version == user.version, **values, version=_NEXT_VERSION):
        raise UserChanged
    if has_lost or changes.get("is_disabled"):
        end_user_sessions(user)
    _record_changes(user, changes, changed)


def delete_user(user: User) -> None:
    """Delete a user and end all sessions. Raises `UserChanged` if the user has changed since it was read.

    The row stays without personal data, because its ID is the `sub` of tokens and must never be reused. The
    name can be used again. The caller commits, and then calls `set_pending_bits`.
    """
    is_deleted = _write(
        user,
        User.version == user.version,
        username=f"deleted:{user.id}",  # not a valid user name, so it cannot clash with one
        password_hash="",
        password_parameters="",
        must_change_password=False,
        roles=[],
        is_disabled=True,
        deleted_at=int(time.time()),
        version=_NEXT_VERSION,
        last_login_at=None,
        name=None,
        email=None,
        email_verified=False,
        updated_at=None,
    )
    if not is_deleted:
        raise UserChanged
    db.session.execute(delete(KnownAddress).where(KnownAddress.user_id == user.id))
    end_user_sessions(user)
    audit.record_on_commit("user_deleted", user=user.id)


def _record_changes(user: User, changes: UserChanges, changed: list[str]) -> None:
    if "roles" in changes:
        audit.record_on_commit("roles_changed", user=user.id, roles=changes["roles"])
    if members := [name for name in changed if name in Profile.__annotations__]:
        # Not the values: they are personal data, and would stay in the log after the user is deleted.
        audit.record_on_commit("profile_changed", user=user.id, members=members)
    if (is_disabled := changes.get("is_disabled")) is not None:
        audit.record_on_commit("user_disabled" if is_disabled else "user_enabled", user=user.id)


def _check_roles(roles: list[str]) -> None:
    if not set(roles) <= set(ROLES):
        raise InvalidRequest(f"A role must be one of {', '.join(ROLES)}.")


def _hashed(password: str) -> dict[str, str]:
    password_hash = hash_password(password)
    return {"password_hash": password_hash, "password_parameters": parameters_of(password_hash)}


def _write(user: User, *conditions: ColumnElement[bool], **values: object) -> bool:
    """Update and refresh a user's row if it still meets the conditions, and return whether it did."""
    change = (
        update(User)
        .where(User.id == user.id, User.deleted_at.is_(None), *conditions)
        .values(**values)
        .returning(User)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return db.session.scalar(change) is not None
