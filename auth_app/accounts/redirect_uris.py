"""Validate redirect URIs: which may be registered, and whether a request names a registered one."""

import re
from urllib.parse import SplitResult, urlsplit

from shared.errors import InvalidRequest

MAXIMUM_LENGTH = 2048

# The characters of RFC 3986 section 2, except `#`: no fragment is allowed.
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]+")
# A native application listens on whichever loopback port is free (RFC 8252 section 7.3).
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?([/?].*)?")
# A host name or an IP address. Python accepts other hosts, which could inject into a Content-Security-Policy.
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")
_LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


def check_redirect_uri(uri: str) -> None:
    """Raise `InvalidRequest` unless a redirect URI is safe for codes (RFC 6749 3.1.2, RFC 8252 section 7).

    Allowed are https, http on the loopback interface, and private-use schemes.
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
    # A private-use scheme is a reversed domain name (RFC 8252 section 7.1), which `javascript` is not.
    if "." not in parts.scheme:
        raise InvalidRequest(
            f"{uri!a} uses a scheme that other applications use too: use https, http://127.0.0.1, or your "
            "domain in reverse order, such as com.example.app:/callback."
        )


def check_web_uri(uri: str) -> None:
    """Raise `InvalidRequest` for a URI that this server could not send a request to."""
    parts = _split(uri)
    is_web = parts and parts.scheme in {"http", "https"} and _has_host(parts) and "@" not in parts.netloc
    if not is_web or not _CHARACTERS.fullmatch(uri) or len(uri) > 512:
        raise InvalidRequest(
            f"{uri!a} is not an absolute URL: give one such as https://app.example.com/path."
        )


def check_key_set_uri(uri: str) -> None:
    """Raise `InvalidRequest` for a URI whose keys could be replaced on the network."""
    check_web_uri(uri)
    parts = urlsplit(uri)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK_HOSTS:
        raise InvalidRequest(f"{uri!a} would fetch keys unencrypted: use https.")


def is_registered(uri: str, registered: list[str]) -> bool:
    """Return whether a URI is registered: the same string, except for the port of a loopback address."""
    if len(uri) > MAXIMUM_LENGTH:
        return False
    given = _LOOPBACK.fullmatch(uri) if _CHARACTERS.fullmatch(uri) else None
    return uri in registered or bool(given and any(_is_same(given, known) for known in registered))


def form_action_sources(uri: str) -> list[str]:
    """Return the `form-action` sources that allow a redirect to a URI, for a Content-Security-Policy.

    Browsers apply `form-action` to every redirect that follows a form, and an application may redirect on to
    another of its hosts. So only the scheme is restricted.
    """
    parts = urlsplit(uri)
    if parts.scheme == "https":
        return ["https:"]
    if parts.scheme == "http":  # on the loopback interface; CSP sources cannot be IPv6 addresses
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
