"""Read and set the two cookies: the session cookie of a sign-in, and a long-lived browser cookie.

The browser cookie is set before anyone signs in. Form tokens are bound to it, so that no other site can
submit our forms or sign a visitor in as someone else (CSRF). After a sign-in it also identifies the browser
to the throttle (OWASP's device cookie). Scripts cannot read either cookie, and browsers do not send them with
forms of other sites.
"""

import hmac
import re
import secrets

from flask import g, request
from werkzeug import Response

from auth_app.accounts.browser_sessions import find_any_browser_session, find_browser_session
from auth_app.current import current_settings
from auth_app.models import BrowserSession

_BROWSER_AGE = 400 * 86400  # seconds: the maximum that browsers allow
_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{43}")


def browser_cookie() -> str:
    """Return the browser cookie of this request, or a new one if it has none."""
    if "browser" not in g:
        g.browser = _read("browser") or secrets.token_urlsafe(32)
    cookie: str = g.browser
    return cookie


def current_browser_session() -> BrowserSession | None:
    """Return the live browser session of this request, or None if nobody is signed in. Cached in `g`."""
    if "browser_session" not in g:
        token = _read("session")
        g.browser_session = find_browser_session(token) if token else None
    session: BrowserSession | None = g.browser_session
    return session


def last_browser_session() -> BrowserSession | None:
    """Return the browser session of this request's cookie, even if it has expired."""
    token = _read("session")
    return find_any_browser_session(token) if token else None


def read_session_again() -> None:
    """Drop the cached browser session, so that it is read again: it may have ended since."""
    g.pop("browser_session", None)


def form_token() -> str:
    """Return the CSRF token that proves that a form comes from our page in this browser."""
    session = current_browser_session()
    message = f"form {session.id if session else ''}"
    return hmac.digest(browser_cookie().encode(), message.encode(), "sha256").hex()


def is_own_form(token: str) -> bool:
    """Return whether a CSRF token is valid for this browser, in constant time."""
    return hmac.compare_digest(token.encode(), form_token().encode())


def keep_browser(response: Response) -> None:
    """Set the browser cookie, for 400 days."""
    _set(response, "browser", browser_cookie(), max_age=_BROWSER_AGE)


def keep_session(response: Response, token: str) -> None:
    """Set the session cookie, until the browser is closed."""
    _set(response, "session", token)


def forget_session(response: Response) -> None:
    """Delete the session cookie."""
    _set(response, "session", "", max_age=0)


def _is_secure() -> bool:
    return current_settings().issuer.startswith("https:")


def _name(kind: str) -> str:
    # With the prefix __Host- browsers accept the cookie only from this host, over https, for every path
    # (RFC 6265bis section 4.1.3.2), so that another subdomain cannot set it.
    return f"__Host-auth_{kind}" if _is_secure() else f"auth_{kind}"


def _read(kind: str) -> str | None:
    value = request.cookies.get(_name(kind), "")
    return value if _WELL_FORMED.fullmatch(value) else None


def _set(response: Response, kind: str, value: str, max_age: int | None = None) -> None:
    response.set_cookie(
        _name(kind), value, max_age=max_age, path="/", secure=_is_secure(), httponly=True, samesite="Lax"
    )
