"""Say which redirect URIs may be registered, and whether one that a request names is registered."""

import re
from urllib.parse import SplitResult, urlsplit

from shared.errors import InvalidRequest

MAXIMUM_LENGTH = 2048

# RFC 3986 section 2, without what no URI holds unencoded, and without a fragment.
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]+")
# The port of an application on its user's machine is whichever was free (RFC 8252 section 7.3).
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?([/?].*)?")
# A name, or an address of IPv6: what else Python takes for a host could end a word of a policy.
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")
_LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


def check_redirect_uri(uri: str) -> None:
    """Refuse a redirect URI at which a code would not be safe (RFC 6749 section 3.1.2, RFC 8252 section 7).

    It is https, or http on the user's own machine, or of a scheme that an application has for itself.
    Raises `InvalidRequest`.
    """
    if not _CHARACTERS.fullmatch(uri) or len(uri) > MAXIMUM_LENGTH:
        raise InvalidRequest(
            f"{uri!a} is too long, or contains a fragment or characters that are not allowed in a URI."
        )
    if "*" in uri:
        raise InvalidRequest(
            f"{uri!a} contains a wildcard: register each URI in full, because they are compared exactly."
        )
    parts = _split(uri)
    if parts is None or "@" in parts.netloc or (parts.hostname and not _has_host(parts)):
        raise InvalidRequest(f"{uri!a} is not an absolute URI: give one such as https://app.example.com/cb.")
    if parts.scheme == "https" and _has_host(parts):
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS:
        return
    if parts.scheme == "http":
        raise InvalidRequest(f"{uri!a} would send codes unencrypted: use https.")
    if parts.scheme == "https":
        raise InvalidRequest(f"{uri!a} has no host.")
    # A private-use scheme is a domain name in reverse order (RFC 8252 section 7.1); `javascript` is none.
    if "." not in parts.scheme:
        raise InvalidRequest(
            f"{uri!a} uses a scheme that other applications use too: use https, http://127.0.0.1, or your "
            "domain in reverse order, such as com.example.app:/callback."
        )


def check_web_uri(uri: str) -> None:
    """Refuse a URI that this server could not send a request to. Raises `InvalidRequest`."""
    parts = _split(uri)
    is_web = parts and parts.scheme in {"http", "https"} and _has_host(parts) and "@" not in parts.netloc
    if not is_web or not _CHARACTERS.fullmatch(uri) or len(uri) > 512:
        raise InvalidRequest(
            f"{uri!a} is not an absolute URL: give one such as https://app.example.com/path."
        )


def check_key_set_uri(uri: str) -> None:
    """Refuse a URI at which somebody on the way could put other keys. Raises `InvalidRequest`."""
    check_web_uri(uri)
    parts = urlsplit(uri)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK_HOSTS:
        raise InvalidRequest(f"{uri!a} would fetch keys unencrypted: use https.")


def is_registered(uri: str, registered: list[str]) -> bool:
    """Tell whether a URI is one of those that are registered: the same text, but for a loopback's port."""
    if len(uri) > MAXIMUM_LENGTH:
        return False
    given = _LOOPBACK.fullmatch(uri) if _CHARACTERS.fullmatch(uri) else None
    return uri in registered or bool(given and any(_is_same(given, known) for known in registered))


def targets_after(uri: str) -> list[str]:
    """Return where a browser may be led after a redirect URI, as sources of a Content-Security-Policy.

    Browsers apply `form-action` to every redirect after a form, and an application may lead on to another
    host of its own: so the scheme is all that is held.
    """
    parts = urlsplit(uri)
    if parts.scheme == "https":
        return ["https:"]
    if parts.scheme == "http":  # on the user's machine; the policy's grammar has no IPv6
        own = ["http:"] if "[" in parts.netloc else ["http://127.0.0.1:*", "http://localhost:*"]
        return ["https:", *own]
    return ["https:", f"{parts.scheme}:"]


def _has_host(parts: SplitResult) -> bool:
    return bool(_HOST.fullmatch(parts.hostname or ""))


def _is_same(given: re.Match[str], registered: str) -> bool:
    known = _LOOPBACK.fullmatch(registered)
    return known is not None and known.groups() == given.groups()


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None
