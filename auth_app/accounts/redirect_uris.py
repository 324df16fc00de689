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
        raise InvalidRequest(f"{uri!a} is not a URI that codes can be sent to: it must not have a fragment.")
    if "*" in uri:
        raise InvalidRequest(f"{uri!a} has a wildcard: register each URI, for they are compared exactly.")
    parts = _split(uri)
    if parts is None or "@" in parts.netloc:
        raise InvalidRequest(f"{uri!a} is not an absolute URI: give one such as https://app.example.com/cb.")
    if parts.scheme == "https" and _has_host(parts):
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS:
        return
    if parts.scheme == "http":
        raise InvalidRequest(f"{uri!a} would send codes unencrypted: use https.")
    # A private-use scheme is a domain name in reverse order (RFC 8252 section 7.1); `javascript` is none.
    if "." not in parts.scheme:
        raise InvalidRequest(
            f"{uri!a} is of a scheme that others use too: use https, http://127.0.0.1, or a domain of yours "
            "in reverse order, such as com.example.app:/callback."
        )


def check_web_uri(uri: str) -> None:
    """Refuse a URI that this server could not send a request to. Raises `InvalidRequest`."""
    parts = _split(uri)
    is_web = parts and parts.scheme in {"http", "https"} and _has_host(parts) and "@" not in parts.netloc
    if not is_web or not _CHARACTERS.fullmatch(uri) or len(uri) > 512:
        raise InvalidRequest(
            f"{uri!a} is not an absolute URL: give one such as https://app.example.com/path."
        )


def is_registered(uri: str, registered: list[str]) -> bool:
    """Tell whether a URI is one of those that are registered: the same text, but for a loopback's port."""
    given = _LOOPBACK.fullmatch(uri) if _CHARACTERS.fullmatch(uri) else None
    return uri in registered or bool(given and any(_is_same(given, known) for known in registered))


def origin_of(uri: str) -> str:
    """Return what stands for a redirect URI in a Content-Security-Policy."""
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or "[" in parts.netloc:  # the policy's grammar has no IPv6
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def _has_host(parts: SplitResult) -> bool:
    return bool(_HOST.fullmatch(parts.hostname or ""))


def _is_same(given: re.Match[str], registered: str) -> bool:
    known = _LOOPBACK.fullmatch(registered)
    return bool(known) and known.groups() == given.groups()  # type: ignore[union-attr]


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None
