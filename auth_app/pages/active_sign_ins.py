"""List a user's active sign-ins for the account page: browsers, and logins without one."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from auth_app.accounts.browser_sessions import list_browser_sessions
from auth_app.accounts.sessions import list_sessions
from auth_app.database import db
from auth_app.models import BrowserSession, Client, Session


@dataclass(frozen=True)
class SignIn:
    """A browser session, or a login without one, as the account page shows it."""

    key: str  # identifies it in a form
    applications: list[str]
    since: int
    last_used: int
    address: str
    is_current: bool = False
    is_browser: bool = True
    is_application: bool = False  # a login through /authorize whose browser session has ended


def list_sign_ins(current: BrowserSession) -> list[SignIn]:
    """Return the user's active sign-ins: the current browser first, the others by their last use."""
    logins, browsers = list_sessions(current.user), list_browser_sessions(current.user)
    names = _name_clients(login.client_id for login in logins)
    known = {browser.id for browser in browsers}
    found = [
        *(_describe_browser(browser, current, logins, names) for browser in browsers),
        *(_describe_login(login, names) for login in logins if login.browser_session_id not in known),
    ]
    return sorted(found, key=lambda sign_in: (not sign_in.is_current, -sign_in.last_used))


def _name_clients(ids: Iterable[str]) -> dict[str, str]:
    clients = db.session.scalars(select(Client).where(Client.id.in_(set(ids))))
    return {client.id: client.name or client.id for client in clients}


def _describe_browser(
    browser: BrowserSession, current: BrowserSession, logins: list[Session], names: dict[str, str]
) -> SignIn:
    return SignIn(
        key=f"browser:{browser.id}",
        applications=sorted({names[one.client_id] for one in logins if one.browser_session_id == browser.id}),
        since=browser.created_at,
        last_used=browser.last_used_at,
        address=browser.address,
        is_current=browser.id == current.id,
    )


def _describe_login(login: Session, names: dict[str, str]) -> SignIn:
    return SignIn(
        key=f"login:{login.id}",
        applications=[names[login.client_id]],
        since=login.created_at,
        last_used=int(login.rotated_at or login.created_at),
        address=login.address or "",
        is_browser=False,
        is_application=login.browser_session_id is not None,
    )
