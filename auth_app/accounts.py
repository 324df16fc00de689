"""Manage users: what the users API and the commands have in common."""

import re

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.database import db
from auth_app.errors import InvalidPassword, UsernameTaken
from auth_app.metrics import LOGINS
from auth_app.models import Session, User
from auth_app.password_rules import check_new_password
from auth_app.passwords import hash_password, normalise, parameters_of, verify_password
from auth_app.roles import ROLES
from auth_app.session_ends import end_user_sessions
from auth_app.throttle import begin_attempt
from auth_app.usernames import normalise_username
from shared.errors import InvalidRequest, InvalidToken, Unavailable

# ASCII only: a letter of another alphabet that looks the same would let one user pass for another.
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


def find_user(username: str) -> User | None:
    """Return the user of a name, in any spelling of it."""
    return db.session.scalar(select(User).where(User.username == normalise_username(username)))


def authenticate_user(username: str, password: str) -> User | None:
    """Return the user of a name and password, None if one of them is wrong or the user is disabled.

    Commits what the throttle has to remember of a refused login. Raises `TooManyAttempts`, and `Unavailable`
    if the password could not be verified.
    """
    user = find_user(username)
    attempt = begin_attempt(username, user.id if user else None)
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


def create_user(username: str, password: str, roles: list[str]) -> User:
    """Add a user. Raises `InvalidPassword`, `InvalidRequest` for a bad name or role, and `UsernameTaken`."""
    check_new_password(username, password)
    return add_user(username, hash_password(password), roles)


def add_user(username: str, password_hash: str, roles: list[str]) -> User:
    """Add a user by a hash that is known already. Raises `InvalidRequest` and `UsernameTaken`."""
    username = normalise_username(username)
    if not _USERNAME.fullmatch(username):
        raise InvalidRequest(
            "A user name is 1 to 128 of a-z 0-9 . _ @ + - and begins with a letter or digit."
        )
    _check_roles(roles)
    user = User(
        username=username,
        password_hash=password_hash,
        password_parameters=parameters_of(password_hash),
        roles=roles,
    )
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:  # the database decides, for two may come at the same time
        db.session.rollback()
        raise UsernameTaken from None
    audit.record_on_commit("user_created", user=user.id, roles=roles)
    return user


def reset_password(user: User, password: str) -> None:
    """Give a user a new password, and end all sessions. Raises `InvalidPassword`."""
    check_new_password(user.username, password)
    _write(user, **_hashed(password))
    end_user_sessions(user)
    audit.record_on_commit("password_changed", user=user.id)


def change_password(user: User, current: Session, old: str, new: str) -> None:
    """Give a user another password, and end every session but the `current` one.

    Raises `InvalidPassword`, also when the password was changed while `old` was being verified, and
    `InvalidToken` when the current session has ended meanwhile.
    """
    verified_hash = user.password_hash
    if authenticate_user(user.username, old) is None:
        raise InvalidPassword
    if normalise(new) == normalise(old):
        raise InvalidPassword("The new password must not be the current one.")
    check_new_password(user.username, new)
    _write(user, User.password_hash == verified_hash, **_hashed(new))
    generation = end_user_sessions(user)
    _keep_session(current, generation)
    audit.record_on_commit("password_changed", user=user.id)


def set_roles(user: User, roles: list[str]) -> None:
    """Give a user other roles; losing one ends all sessions. Raises `InvalidRequest`."""
    _check_roles(roles)
    if not set(user.roles) <= set(roles):
        end_user_sessions(user)
    user.roles = roles
    db.session.flush()
    audit.record_on_commit("roles_changed", user=user.id, roles=roles)


def set_disabled(user: User, is_disabled: bool) -> None:
    """Disable a user and end every session, or enable a user again."""
    if is_disabled:
        end_user_sessions(user)
    user.is_disabled = is_disabled
    db.session.flush()
    audit.record_on_commit("user_disabled" if is_disabled else "user_enabled", user=user.id)


def _check_roles(roles: list[str]) -> None:
    if not set(roles) <= set(ROLES):
        raise InvalidRequest(f"A role is one of {', '.join(ROLES)}.")


def _hashed(password: str) -> dict[str, str]:
    password_hash = hash_password(password)
    return {"password_hash": password_hash, "password_parameters": parameters_of(password_hash)}


def _write(user: User, *conditions: ColumnElement[bool], **values: object) -> None:
    """Change a user's row if it still fulfils the conditions. Raises `InvalidPassword` if it does not."""
    change = update(User).where(User.id == user.id, *conditions).values(**values).returning(User.id)
    if db.session.scalar(change) is None:
        raise InvalidPassword


def _keep_session(session: Session, generation: int) -> None:
    """Let a session go on while all others of its user end. Raises `InvalidToken` if it has ended."""
    keep = (
        update(Session)
        .where(Session.id == session.id, Session.generation == session.generation)
        .where(Session.revoked_at.is_(None))
        .values(generation=generation)
        .returning(Session.id)
    )
    if db.session.scalar(keep) is None:
        raise InvalidToken
