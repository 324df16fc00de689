"""Know the browser that sends a request: by the cookie of its sign-in, and by one that it keeps for long.

The second one is there before anybody signs in. Forms are bound to it, so that no other site can send them,
nor sign a visitor in as somebody else; and after a sign-in it shows that the browser is its owner's (OWASP's
device cookie). Neither is readable by scripts or sent by other sites' forms.
"""

import hmac
import re
import secrets

from flask import g, request
from werkzeug import Response

from auth_app.accounts.browser_sessions import find_any_browser_session, find_browser_session
from auth_app.current import current_settings
from auth_app.models import BrowserSession

_BROWSER_AGE = 400 * 86400  # seconds: as long as browsers keep any cookie
_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{43}")


def browser_cookie() -> str:
    """Return the long-lived cookie of the browser, a new one if it has none."""
    if "browser" not in g:
        g.browser = _read("browser") or secrets.token_urlsafe(32)
    cookie: str = g.browser
    return cookie


def current_browser_session() -> BrowserSession | None:
    """Return the live session of the browser that sends this request, None if nobody is signed in."""
    if "browser_session" not in g:
        token = _read("session")
        g.browser_session = find_browser_session(token) if token else None
    session: BrowserSession | None = g.browser_session
    return session


def last_browser_session() -> BrowserSession | None:
    """Return the session of the browser's cookie, also one that has expired or was idle for too long."""
    token = _read("session")
    return find_any_browser_session(token) if token else None


def read_session_again() -> None:
    """Forget what this request knows of the session: a transaction that was rolled back has read it."""
    g.pop("browser_session", None)


def form_token() -> str:
    """Return what each form carries to show that it is a page of ours, shown in this browser (CSRF)."""
    session = current_browser_session()
    message = f"form {session.id if session else ''}"
    return hmac.digest(browser_cookie().encode(), message.encode(), "sha256").hex()


def is_own_form(token: str) -> bool:
    """Return whether a form came from a page of ours in this browser, in constant time."""
    return hmac.compare_digest(token.encode(), form_token().encode())


def keep_browser(response: Response) -> None:
    """Have the browser keep its long-lived cookie."""
    _set(response, "browser", browser_cookie(), max_age=_BROWSER_AGE)


def keep_session(response: Response, token: str) -> None:
    """Have the browser keep the cookie of a sign-in, until the browser is closed."""
    _set(response, "session", token)


def forget_session(response: Response) -> None:
    """Have the browser forget the cookie of a sign-in."""
    _set(response, "session", "", max_age=0)


def _is_secure() -> bool:
    return current_settings().issuer.startswith("https:")


def _name(kind: str) -> str:
    # With this prefix browsers take the cookie from this host alone, over https, for every path (RFC 6265bis
    # section 4.1.3.2): a neighbour on another subdomain cannot plant one.
    return f"__Host-auth_{kind}" if _is_secure() else f"auth_{kind}"


def _read(kind: str) -> str | None:
    value = request.cookies.get(_name(kind), "")
    return value if _WELL_FORMED.fullmatch(value) else None


def _set(response: Response, kind: str, value: str, max_age: int | None = None) -> None:
    response.set_cookie(
        _name(kind), value, max_age=max_age, path="/", secure=_is_secure(), httponly=True, samesite="Lax"
    )
