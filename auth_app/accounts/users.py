"""Manage users: what the users API and the commands have in common."""

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

# ASCII only: a letter of another alphabet that looks the same would let one user pass for another.
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")

# What applications are told of a user: `updated_at` is when one of these last changed.
_TOLD = ("roles", "name", "email", "email_verified")

# Only what administrators decide has versions: a user must not be able to make their changes fail.
_NEXT_VERSION = User.version + 1


class UserChanges(Profile, total=False):
    """Columns of `User` that administrators change."""

    roles: list[str]
    is_disabled: bool


_USER = select(User).where(User.username == bindparam("name"), User.deleted_at.is_(None))


def find_user(username: str) -> User | None:
    """Return the user of a name in any spelling, None if there is none or the user was deleted."""
    return db.session.scalar(_USER, {"name": normalise_username(username)})


def authenticate_user(username: str, password: str, browser: str | None = None) -> User | None:
    """Return the user of a name and password, None if one of them is wrong or the user is disabled.

    `browser` is the cookie by which a browser is known again. Commits what the throttle has to remember of a
    refused login. Raises `TooManyAttempts`, and `Unavailable` if the password could not be verified.
    """
    user = find_user(username)
    attempt = begin_attempt(username, user.id if user else None, browser)
    # A disabled user with the right password costs what a wrong password does.
    password_hash = user.password_hash if user and not user.is_disabled else None
    try:
        matches = verify_password(password_hash, password)
    except Unavailable:
        attempt.withdraw()
        raise
    if not matches:
        # The name that was typed is not recorded where there is no such user: it may be a password.
        LOGINS.labels("failed").inc()
        audit.record("login_failed", actor=user and user.id)
        attempt.record()
        return None
    attempt.forget_failures()
    return user


def create_user(username: str, password: str, roles: list[str], **profile: Unpack[Profile]) -> User:
    """Add a user.

    Raises `InvalidPassword`, `UsernameTaken`, and `InvalidRequest` for a bad user name, role or profile.
    """
    check_new_password(username, password)
    complete_profile(profile)  # what is refused costs no hash
    return add_user(username, hash_password(password), roles, **profile)


def add_user(username: str, password_hash: str, roles: list[str], **profile: Unpack[Profile]) -> User:
    """Add a user by a hash that is known already. Raises `InvalidRequest` and `UsernameTaken`."""
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
    except IntegrityError:  # the database decides, for two may come at the same time
        db.session.rollback()
        raise UsernameTaken from None
    audit.record_on_commit("user_created", user=user.id, roles=roles)
    return user


def reset_password(user: User, password: str, *, must_change: bool) -> None:
    """Give a user a new password, whatever the old one is by now, and end all sessions.

    With `must_change` the user has to choose another one at the next login. Raises `InvalidPassword`, and
    `UserChanged` when the user was deleted meanwhile.
    """
    check_new_password(user.username, password)
    if not _write(user, **_hashed(password), must_change_password=must_change, version=_NEXT_VERSION):
        raise UserChanged
    end_user_sessions(user)
    audit.record_on_commit("password_changed", user=user.id)


def change_password(
    user: User, current: Session | BrowserSession, old: str, new: str, browser: str | None = None
) -> None:
    """Give a user another password, and end every session but the `current` one.

    Raises `InvalidPassword`, also when the password was changed while `old` was being verified, and
    `InvalidToken` when the current session has ended meanwhile.
    """
    user_id, username, verified_hash = user.id, user.username, user.password_hash
    if authenticate_user(username, old, browser) is None:
        raise InvalidPassword
    if normalise(new) == normalise(old):
        raise InvalidPassword("The new password must not be the current one.", "password_is_current")
    check_new_password(username, new)
    if not _write(user, User.password_hash == verified_hash, **_hashed(new), must_change_password=False):
        # What was verified is the password no longer: a wrong one, as if it had come a moment later.
        db.session.rollback()
        begin_attempt(username, user_id, browser).record()
        raise InvalidPassword
    if isinstance(current, Session) and find_live_session(current.id) is None:
        raise InvalidToken
    end_user_sessions(user, keep=current)
    audit.record_on_commit("password_changed", user=user.id)


def change_user(user: User, **changes: Unpack[UserChanges]) -> None:
    """Set columns of a user; what is not given stays as it is.

    Losing a role ends all sessions, and so does being disabled. An email address that changes is verified
    only if `email_verified` is given too. Raises `InvalidRequest`, and `UserChanged` when the user is not as
    it was read.
    """
    roles = changes.get("roles", user.roles)
    _check_roles(roles)
    has_lost = not set(user.roles) <= set(roles)
    values = {**changes, **complete_profile(changes, user.email)}
    changed = [name for name in _TOLD if name in values and values[name] != getattr(user, name)]
    if changed:
        values["updated_at"] = int(time.time())
    if not _write(user, User.version == user.version, **values, version=_NEXT_VERSION):
        raise UserChanged
    if has_lost or changes.get("is_disabled"):
        end_user_sessions(user)
    _record_changes(user, changes, changed)


def delete_user(user: User) -> None:
    """Delete a user and end all sessions. Raises `UserChanged` when the user is not as it was read.

    The row stays, without anything personal, because its ID is the `sub` of tokens and must never be another
    user's. The name is free again.
    """
    is_deleted = _write(
        user,
        User.version == user.version,
        username=f"deleted:{user.id}",  # which no name can be
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
        # Without the values, which are personal and would outlive the user in the log.
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
    """Change a user's row if it still fulfils the conditions, read it anew, and return whether it did."""
    change = (
        update(User)
        .where(User.id == user.id, User.deleted_at.is_(None), *conditions)
        .values(**values)
        .returning(User)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return db.session.scalar(change) is not None
