"""The settings of a trusted authorization server (`Issuer`), and the keys and lists behind them."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.files import POLL_INTERVAL
from flask_resource_server.exceptions import ConfigurationError
from flask_resource_server.tokens.discovery import Discovery
from flask_resource_server.tokens.profiles import PROFILES, RFC9068, Profile
from flask_resource_server.tokens.public_keys import FetchedKeys, KeySetSource, PublicKeys, open_keys
from flask_resource_server.tokens.revocations import Revocations
from flask_resource_server.tokens.status_lists import ListAddress

_logger = logging.getLogger(__name__)

_KEY_SOURCES = ("public_key", "public_key_file", "public_keys", "jwks_url")

# Returns whether a token with these claims, which has passed every other check, was revoked.
IsRevoked = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, eq=False)
class TrustedIssuer:
    """An issuer whose tokens for one of `audiences` are accepted if one of `public_keys` verifies them.

    `checks` are for readiness checks, by name: each raises `ConfigurationError` or `Undetermined` while no
    token can be verified, and `Degraded` while only an older state of keys or lists is known. `ages` are for
    metrics, by name: each returns the seconds since that state was current, or None if it is not known.
    """

    url: str
    audiences: frozenset[str]
    public_keys: Mapping[str, RSAPublicKey]
    is_revoked: IsRevoked
    profile: Profile = RFC9068
    checks: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    ages: Mapping[str, Callable[[], float | None]] = field(default_factory=dict)
    # Raises `ConfigurationError` if the service must not start. Fetches nothing, starts no thread.
    check_startup: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Issuer:
    """An authorization server whose access tokens a service accepts.

    The URL is enough: keys and status lists are found through its metadata (RFC 8414). It is compared with
    `iss` character by character. Raises `ConfigurationError` for settings that cannot work.
    """

    url: str
    """URL of the authorization server, exactly as its tokens spell it in `iss`."""

    audience: str | Iterable[str] | None = None
    """What `aud` must contain: a string, or a list of which `aud` must contain one. The default is this
    service's own URL.
    """

    profile: str | Profile = "rfc9068"
    """How the issuer's tokens differ from RFC 9068: the name of a known issuer, or a `Profile`."""

    public_key: str | None = None
    """Public keys as PEM text, instead of discovery."""

    public_key_file: str | Path | None = None
    """PEM file of public keys, instead of discovery. The service follows changes: a key that you add verifies
    tokens at once, and a key that you remove stops within 50 ms.
    """

    public_keys: PublicKeys | None = None
    """Keys from anywhere else, instead of discovery: an instance of your own subclass of `PublicKeys`.
    """

    jwks_url: str | None = None
    """URL of the issuer's JWK Set, instead of discovery."""

    jwks_refresh: float = 60
    """Longest time between two fetches of the keys, in seconds."""

    jwks_cooldown: float = 10
    """Shortest time between two fetches of the keys, in seconds, whatever `kid` tokens name."""

    status_claim: Literal["optional", "required", "ignored"] = "optional"
    """What to do with a token without a `status` claim, which cannot be revoked: accept it (`optional`) or
    refuse it (`required`). With `ignored` the service fetches no status lists.
    """

    stale_status_lists: Literal["refuse", "accept"] = "refuse"
    """What to do with a token whose status list has expired and cannot be fetched: respond with 503
    (`refuse`) or accept the token (`accept`).
    """

    status_lists_url: str | None = None
    """Where to fetch status lists, if not from the URL in the issuer's metadata."""

    copies: str | Path | None = None
    """Folder for the last good keys and lists. The processes of a host share it, and the service can restart
    from it while the issuer is down. The service's user or root must own it, and nobody else may write to
    it.
    """

    proxy: str | None = None
    """URL of an HTTP proxy to fetch through, or `environment` to obey `HTTPS_PROXY`, `HTTP_PROXY` and
    `NO_PROXY`.
    """

    def __post_init__(self) -> None:
        check_url("ISSUER", self.url, may_end_in_slash=True)
        if self.jwks_url is not None:
            check_url("JWKS_URL", self.jwks_url, may_have_query=True)  # such as ?appid= of Entra ID
        if self.status_lists_url is not None:
            check_url("STATUS_LISTS_URL", self.status_lists_url)
        sources = [name.upper() for name in _KEY_SOURCES if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ConfigurationError(f"{' and '.join(sources)} are both set: keep one of them")
        _check_choice("STATUS_CLAIM", self.status_claim, ("optional", "required", "ignored"))
        _check_choice("STALE_STATUS_LISTS", self.stale_status_lists, ("refuse", "accept"))
        if not isinstance(self.profile, Profile):
            _check_choice("PROFILE", self.profile, tuple(PROFILES))
        for name in ("jwks_refresh", "jwks_cooldown"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"{name.upper()} must be a number of seconds above 0")

    def open(self, resource: str) -> TrustedIssuer:
        """Return the issuer with its keys and status lists, for a service whose own URL is `resource`.

        Reads no file, fetches nothing and starts no thread. Raises `ConfigurationError`.
        """
        discovery = Discovery(self.url, self._copy("metadata"), proxy=self.proxy)
        public_keys = self._open_keys(discovery)
        address = ListAddress(self.url, self.status_lists_url, discovery)
        revocations = Revocations(
            address,
            public_keys,
            self._copy("status-lists", self.status_lists_url),
            status_claim=self.status_claim,
            stale_status_lists=self.stale_status_lists,
            proxy=self.proxy,
        )
        return TrustedIssuer(
            self.url,
            _as_set(self.audience or resource),
            public_keys,
            revocations.is_revoked,
            self.profile if isinstance(self.profile, Profile) else PROFILES[self.profile],
            {"keys": public_keys.check, "status_lists": revocations.check},
            {"keys": lambda: public_keys.age, "status_lists": lambda: revocations.age},
            public_keys.check_startup,
        )

    def _open_keys(self, discovery: Discovery) -> PublicKeys:
        if self.public_keys is not None:
            return self.public_keys
        # An empty PUBLIC_KEY counts as set: parsing refuses it. Ignoring it would trust fetched keys instead.
        if self.public_key is not None or self.public_key_file is not None:
            file = None if self.public_key_file is None else Path(self.public_key_file)
            return open_keys(self.public_key, file, "PUBLIC_KEY", POLL_INTERVAL)
        _warn_without_tls(self.jwks_url or self.url)
        source = KeySetSource(self.jwks_url or discovery, self.jwks_refresh, proxy=self.proxy)
        copy = self._copy("keys", self.jwks_url)
        return FetchedKeys(FetchedCopy(source, copy, cooldown=self.jwks_cooldown))

    def _copy(self, name: str, fetched_from: str | None = None) -> DiskCopy | NoDiskCopy:
        """Return the copy on disk of one of the issuer's documents; each document has a file of its own.

        A document that is fetched from another URL than the metadata's has a file of its own too.
        """
        if self.copies is None:
            return NoDiskCopy()
        origin = self.url if fetched_from is None else f"{self.url}\n{fetched_from}"
        digest = hashlib.sha256(origin.encode()).hexdigest()[:12]
        return DiskCopy(Path(self.copies) / f"{urlsplit(self.url).hostname}-{digest}.{name}.json", "COPIES")


def _warn_without_tls(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        _logger.warning(
            "keys are fetched from %s without TLS: anyone on the network path can replace them and forge "
            "tokens; use https",
            url,
        )


def check_url(
    setting: str, url: object, *, may_end_in_slash: bool = False, may_have_query: bool = False
) -> None:
    """Raise `ConfigurationError` unless `url` is an absolute HTTP URL in the form that tokens have it."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        is_absolute = parts and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or what is in brackets is not an IPv6 address
        is_absolute = False
    if not is_absolute:
        raise ConfigurationError(f"{setting} must be an absolute URL, such as https://service.example.com")
    assert parts
    if (parts.query and not may_have_query) or parts.fragment or parts.username:
        raise ConfigurationError(f"{setting} must be a URL without credentials, query and fragment")
    if parts.geturl().endswith("/") and not may_end_in_slash:
        raise ConfigurationError(f"{setting} must not end with a slash")


def _check_choice(setting: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{setting} is {value!a}: set it to one of {', '.join(choices)}")


def _as_set(audience: str | Iterable[str]) -> frozenset[str]:
    return frozenset([audience] if isinstance(audience, str) else audience)
