"""Replay the audit log on a restored database: `flask --app wsgi_auth log replay`."""

import json
import math
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, cast

import click

from auth_app.accounts.clients import change_client, find_client, remove_client
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.accounts.users import change_user, delete_user
from auth_app.cli.console import Group, examples
from auth_app.database import db
from auth_app.models import Client, User

Event = dict[str, Any]

# Events to skip: they change nothing that still matters after a restore and `sessions revoke --all`.
HARMLESS = {
    "all_sessions_revoked",
    "client_refused",
    "client_token_issued",
    "code_issued",
    "code_reused",
    "key_activated",
    "key_generated",
    "key_published",
    "key_revoked",
    "login",
    "login_failed",
    "login_throttled",
    "refresh_token_reused",
    "session_revoked",
    "sessions_revoked",
    "signed_in",
    "signed_out",
    "token_refreshed",
}

REPEATABLE: dict[str, Callable[[Any, Event], None]] = {
    "client_added": lambda _client, _event: None,
    "client_changed": lambda client, event: change_client(client, event["changes"]),
    "client_removed": lambda client, _event: remove_client(client),
    "roles_changed": lambda user, event: change_user(user, roles=event["roles"]),
    "user_created": lambda _user, _event: None,
    "user_deleted": lambda user, _event: delete_user(user),
    "user_disabled": lambda user, _event: change_user(user, is_disabled=True),
    "user_enabled": lambda user, _event: change_user(user, is_disabled=False),
}

group = Group("log", help="Use the log of auth_app.")


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _check_time(_context: click.Context, _parameter: click.Parameter, text: str) -> datetime:
    try:
        return _parse_time(text)
    except ValueError:
        raise click.BadParameter("give a time such as 2026-11-25T03:00:00Z") from None


@group.command(
    "replay", epilog=examples("flask --app wsgi_auth log replay 2026-11-25T03:00:00Z < commands.log")
)
@click.argument("since", callback=_check_time)
def replay(since: datetime) -> None:
    """Repeat the changes to users and clients that a restored backup has lost.

    SINCE is the time at which the backup began. The command reads the log from standard input, in any order.
    It disables a user whose password was changed, because the old password is valid again, and marks an email
    address that was changed as unverified. It prints what you have to do by hand. You can repeat it.
    """
    events = sorted(_read_events(since), key=lambda event: _parse_time(event["time"]))
    tasks = list(_repeat(events))
    db.session.commit()
    set_pending_bits(seconds=math.inf)
    for task in tasks:
        click.echo(task)
    click.echo(f"replayed {len(events)} event{'' if len(events) == 1 else 's'}")


def _read_events(since: datetime) -> Iterator[Event]:
    for line in sys.stdin.buffer:
        _, brace, rest = line.partition(b"{")  # log collectors may prefix each line
        try:
            event = json.loads(brace + rest)
            is_due = _parse_time(event["time"]) >= since
        except (ValueError, KeyError, TypeError):  # not an audit event
            continue
        if is_due and event.get("event") not in {None, *HARMLESS}:
            yield event


def _repeat(events: Iterable[Event]) -> Iterator[str]:
    """Replay events, and yield what is left to do by hand. The caller commits."""
    lost: dict[str, None] = {}  # users and clients that were added after the backup, in order
    unrepeated: defaultdict[User, list[Event]] = defaultdict(list)
    for event in events:
        name, (subject, description) = event["event"], _find_subject(event)
        if name in {"client_removed", "user_deleted"}:
            lost.pop(description, None)
        elif subject is None:
            lost[description] = None
        if subject is None:
            continue
        if name in REPEATABLE:
            REPEATABLE[name](subject, event)
            if name == "user_deleted":
                unrepeated.pop(cast("User", subject), None)
        elif isinstance(subject, User):
            unrepeated[subject].append(event)
        else:
            yield f"{description}: {name} cannot be replayed: repeat the change, or remove the client"
    for user, events_of_user in unrepeated.items():
        yield from _make_safe(user, events_of_user)
    for description in lost:
        yield f"{description} is not in the backup: add it again if it is still needed"


def _find_subject(event: Event) -> tuple[User | Client | None, str]:
    if client_id := event.get("client"):
        return find_client(client_id), f"client {client_id}"
    user_id = str(event.get("user"))
    try:
        user = db.session.get(User, uuid.UUID(user_id))
    except ValueError:
        user = None
    if user and user.deleted_at is not None:
        user = None
    return user, f"user {user.username if user else user_id}"


def _make_safe(user: User, events: list[Event]) -> Iterator[str]:
    """Revoke what is unreliable about a user after these events, and yield what is left to do by hand."""
    names = {event["event"] for event in events}
    if "profile_changed" in names:
        yield _distrust_profile(user, {member for event in events for member in event.get("members", [])})
    if others := names - {"profile_changed"}:
        yield _disable(user, others)


def _distrust_profile(user: User, members: set[str]) -> str:
    """Mark a changed email address as unverified, and return the task to set the profile again."""
    if members & {"email", "email_verified"}:
        # The restored address may be one that the user gave up, and that now belongs to someone else.
        change_user(user, email_verified=False)
    changed = ", ".join(sorted(members))
    return f"{user.username}: the log has no new value for {changed}: run `users set {user.username}`"


def _disable(user: User, names: set[str]) -> str:
    was_disabled = user.is_disabled
    change_user(user, is_disabled=True)
    reason = f"{user.username} is disabled, because {', '.join(sorted(names))} cannot be replayed"
    if was_disabled:
        return f"{reason}, and was disabled before: run `users set-password` before you enable the user again"
    return f"{reason}: run `users set-password {user.username}`, then `users enable {user.username}`"
