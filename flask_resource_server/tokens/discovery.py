"""Discover where an issuer publishes its keys and status lists, from its metadata (RFC 8414)."""

import json
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.fetching import Fetcher, RefusedFetch
from flask_resource_server.exceptions import Undetermined
from flask_resource_server.tokens.jws import parse_object

MAXIMUM_SIZE = 64 * 1024  # bytes of the document
REFRESH = 3600  # seconds from one fetch to the next, at most
COOLDOWN = 1  # seconds; short, because only a signed token or a failed fetch of keys causes a fetch

_DEFAULT_PORTS = {"http": 80, "https": 443}


class UnusableMetadata(Exception):
    """A metadata document that must not be used; the message says what to do."""


@dataclass(frozen=True)
class Metadata:
    """The members of an issuer's metadata that a verifier needs."""

    jwks_uri: str
    status_lists_uri: str | None  # None: the issuer publishes no status lists

    @property
    def content(self) -> bytes:
        """Return the metadata as JSON, for the copy on disk."""
        return json.dumps(asdict(self)).encode()


class MetadataSource:
    """An issuer's metadata, at the URL of RFC 8414 or else at that of OpenID Connect Discovery."""

    def __init__(self, issuer: str, proxy: str | None = None) -> None:
        self._issuer = issuer
        self.url, *self._others = _addresses(issuer)
        self._fetcher = Fetcher("application/json", MAXIMUM_SIZE, proxy=proxy)

    def fetch(self) -> Metadata:
        """Return the metadata as the issuer publishes it now. Raises `UnusableMetadata`, or as `Fetcher`."""
        for url in (self.url, *self._others):
            try:
                document = parse_object(self._fetcher.fetch(url))
            # Nothing is at this URL, or a single-page application that serves its HTML at every URL.
            except (RefusedFetch, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                return self._read(document, url)
        raise UnusableMetadata(
            f"there is no metadata at {self.url} or {self._others[0]} ({problem}): check that ISSUER is the "
            "URL of an authorization server"
        )

    def _read(self, document: dict[str, object], url: str) -> Metadata:
        if document.get("issuer") != self._issuer:  # RFC 8414 section 3.3
            raise UnusableMetadata(
                f"{url} is the metadata of {document.get('issuer')!a}, not of {self._issuer}: set ISSUER to "
                "the issuer's URL exactly as it is in its metadata and tokens"
            )
        # draft-ietf-oauth-status-list section 9
        status_lists = document.get("status_list_aggregation_endpoint")
        return Metadata(
            self._check("jwks_uri", document.get("jwks_uri"), "JWKS_URL"),
            None
            if status_lists is None
            else self._check("status_list_aggregation_endpoint", status_lists, "STATUS_LISTS_URL"),
        )

    def _check(self, member: str, url: object, setting: str) -> str:
        """Return the URL of a member, which must be on the issuer's origin: it decides what is trusted."""
        if isinstance(url, str) and _origin(url) == _origin(self._issuer):
            return url
        raise UnusableMetadata(
            f"{member} is {url!a}, which is not on the origin of {self._issuer}: if you trust that URL, set "
            f"{setting} to it"
        )

    def parse(self, content: bytes) -> Metadata:
        """Return the metadata of a copy on disk. Raises if it is damaged."""
        document = parse_object(content)
        status_lists = document["status_lists_uri"]
        return Metadata(str(document["jwks_uri"]), None if status_lists is None else str(status_lists))

    def merge(self, new: Metadata, known: Metadata | None) -> Metadata:  # noqa: ARG002
        """Return the newer metadata."""
        return new

    def refresh(self, document: Metadata) -> float:  # noqa: ARG002
        """Return the maximum number of seconds between two fetches."""
        return REFRESH


class Discovery:
    """The metadata of an issuer, fetched when it is first needed and kept current."""

    def __init__(self, issuer: str, disk: DiskCopy | NoDiskCopy, proxy: str | None = None) -> None:
        self.url = _addresses(issuer)[0]
        self._copy = FetchedCopy(MetadataSource(issuer, proxy), disk, cooldown=COOLDOWN)

    def known(self) -> Metadata | None:
        """Return the metadata, or None if it is not known yet. Requests no fetch."""
        return self._copy.document

    def metadata(self) -> Metadata:
        """Return the metadata. May wait for the first fetch. Raises `Undetermined` if that fails."""
        if self._copy.document is None:
            self._copy.request_renewal()
        if (document := self._copy.document) is None:
            raise Undetermined(f"the issuer's metadata is not known: {self._copy.problem}")
        return document

    def request_renewal(self) -> None:
        """Fetch the metadata again, at most once in `COOLDOWN` seconds: the URLs in it may have changed."""
        self._copy.request_renewal()


def _addresses(issuer: str) -> tuple[str, ...]:
    """Return the URLs of an issuer's metadata: RFC 8414 section 3.1, OpenID Connect Discovery section 4."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}",
        f"{parts.scheme}://{parts.netloc}{path}/.well-known/openid-configuration",
    )


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (
        (parts.scheme, parts.hostname, port)
        if parts.scheme in _DEFAULT_PORTS and not parts.username
        else None
    )
