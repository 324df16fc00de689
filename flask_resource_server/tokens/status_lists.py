"""Fetch an issuer's status lists as often as their `ttl` says; never replace one with an older version."""

import json
import logging
import time
from dataclasses import dataclass

from flask_resource_server.documents.fetching import Fetcher
from flask_resource_server.exceptions import Undetermined
from flask_resource_server.tokens.checks import LEEWAY
from flask_resource_server.tokens.discovery import Discovery
from flask_resource_server.tokens.public_keys import PublicKeys
from flask_resource_server.tokens.status_list import (
    MEDIA_TYPE,
    PATH,
    StatusList,
    UnusableStatusList,
    is_path_of_list,
    parse_status_list,
)

DEFAULT_TTL = 30  # seconds between fetches while there is no list that has a `ttl`
MAXIMUM_SIZE = 2 * 1024 * 1024  # bytes of a signed list
MAXIMUM_LISTS = 100
_MARGIN = 5  # seconds before a list expires at which it is fetched again

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class SignedList:
    """A verified list, and the JWT that contained it."""

    token: str
    parsed: StatusList


@dataclass(frozen=True, repr=False)
class StatusLists:
    """Status lists by their URI, and the URIs of lists that could not be verified or fetched."""

    lists: dict[str, SignedList]
    left_out: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()  # the last fetch of these failed: an older version may be known

    @property
    def is_stale(self) -> bool:
        """Return whether one of the lists has expired."""
        return any(signed.parsed.is_stale for signed in self.lists.values())

    @property
    def content(self) -> bytes:
        """Return the signed lists as JSON."""
        return json.dumps({uri: signed.token for uri, signed in self.lists.items()}).encode()


class ListAddress:
    """The URL where an issuer publishes its status lists, from its metadata or from a setting.

    At the URL is an index, a document that lists the URIs of the status lists; they are below it, by number.
    `setting` is another URL to fetch from, as in a private network. It does not change the lists' URIs.
    """

    def __init__(self, issuer: str, setting: str | None, discovery: Discovery) -> None:
        self._default = issuer + PATH
        self._setting = setting
        self._discovery = discovery

    @property
    def label(self) -> str:
        """Return the URL for log lines."""
        return self._setting or self._default

    def find(self) -> str | None:
        """Return the URL to fetch, or None if the issuer has no lists. May wait. Raises `Undetermined`."""
        return self._setting or self._discovery.metadata().status_lists_uri

    def prefix(self) -> str | None:
        """Return the prefix of the lists' URIs, or None if the issuer has none. Raises `Undetermined`."""
        if self._setting:
            return self._default
        metadata = self._discovery.known()
        if metadata is None or metadata.status_lists_uri is None:
            self._discovery.request_renewal()  # the issuer may have started to publish lists
            metadata = self._discovery.known()
        if metadata is None:
            raise Undetermined(f"the metadata of {self._default.removesuffix(PATH)} is not known yet")
        return metadata.status_lists_uri

    def names(self, uri: str) -> bool:
        """Return whether `uri` is that of a list of the issuer. Raises `Undetermined`."""
        prefix = self.prefix()
        return prefix is not None and uri.startswith(prefix) and is_path_of_list(uri.removeprefix(prefix))


def _seconds_until_due(known: StatusList) -> float:
    """Return in how many seconds to fetch a list again: after its `ttl`, or `_MARGIN` before it expires."""
    remaining = known.expires_at - time.time() - _MARGIN
    return known.ttl if remaining <= 0 else min(known.ttl, max(1, remaining))


class StatusListsSource:
    """The issuer's status lists: the index, and every list in it."""

    def __init__(self, address: ListAddress, public_keys: PublicKeys, proxy: str | None = None) -> None:
        self._address = address
        self.url = address.label
        self._public_keys = public_keys
        self._fetcher = Fetcher(MEDIA_TYPE, MAXIMUM_SIZE, proxy=proxy)
        self._failing: set[str] = set()  # lists whose last fetch failed
        self._held_back: set[str] = set()  # lists of which an older version was fetched last

    def fetch(self) -> StatusLists:
        """Return the lists as the issuer publishes them now. Raises if none can be fetched and verified."""
        url = self._address.find()
        if url is None:
            return StatusLists({})
        index = json.loads(self._fetcher.fetch(url))
        uris = index.get("status_lists") if isinstance(index, dict) else None
        if not isinstance(uris, list) or len(uris) > MAXIMUM_LISTS:
            raise UnusableStatusList(f"the response of {url} is not an index of status lists")
        return self._fetch_lists(url, [str(uri) for uri in uris])

    def _fetch_lists(self, url: str, uris: list[str]) -> StatusLists:
        """Return the lists that can be fetched: one that fails must not prevent renewal of the others."""
        lists, errors = {}, {}
        for uri in uris:
            try:
                lists[uri] = self._fetch_list(url, uri)
            except Exception as error:
                errors[uri] = error
        if errors and not lists:
            raise next(iter(errors.values()))
        for uri in sorted(errors.keys() - self._failing):
            _logger.warning("cannot fetch %s: %s: %a", uri, type(errors[uri]).__name__, str(errors[uri]))
        self._failing = set(errors)
        return StatusLists(lists, failed=frozenset(errors))

    def parse(self, content: bytes) -> StatusLists:
        """Return the lists in a copy that can be verified now. Raises `ValueError`, `Undetermined`."""
        tokens = json.loads(content)
        if not isinstance(tokens, dict):
            raise UnusableStatusList("it is not a JSON object")
        lists, left_out = {}, set()
        for uri, token in tokens.items():
            try:
                if self._address.names(uri):
                    lists[uri] = SignedList(token, parse_status_list(token, uri, self._public_keys))
            except UnusableStatusList:  # its key was removed, or is not known yet
                left_out.add(uri)
        return StatusLists(lists, frozenset(left_out))

    def merge(self, new: StatusLists, known: StatusLists | None) -> StatusLists:
        """Return the newest version of each list, so that an older one cannot undo a revocation.

        A list that is no longer published is kept until it expires, so that an older version cannot replace
        it when it is published again.
        """
        merged = dict(new.lists)
        held_back = set()
        room = MAXIMUM_LISTS  # for lists no longer published: an issuer could keep renaming its lists
        for uri, signed in (known.lists if known else {}).items():
            if uri not in merged:
                if room and self._counts(signed.parsed) and not signed.parsed.is_stale:
                    merged[uri], room = signed, room - 1
            elif self._counts(signed.parsed) and not merged[uri].parsed.may_replace(signed.parsed):
                merged[uri] = signed
                held_back.add(uri)
        self._log(held_back)
        return StatusLists(merged, new.left_out - merged.keys(), new.failed)

    def refresh(self, document: StatusLists) -> float:
        """Return the seconds until the first of the lists is due for a fetch."""
        return min(
            (_seconds_until_due(signed.parsed) for signed in document.lists.values()), default=DEFAULT_TTL
        )

    def _counts(self, known: StatusList) -> bool:
        """Return whether a known list can hold back a new one: not with a revoked key or a time to come."""
        return self._public_keys.verifies(known.kid, known.key) and known.issued_at <= time.time() + LEEWAY

    def _fetch_list(self, url: str, uri: str) -> SignedList:
        prefix = self._address.prefix() or ""
        if not self._address.names(uri):
            raise UnusableStatusList(f"{url} lists a URI that is not below {prefix}")
        token = self._fetcher.fetch(url + uri.removeprefix(prefix)).decode("ascii")
        parsed = parse_status_list(token, uri, self._public_keys)
        if parsed.is_stale:
            raise UnusableStatusList(f"the list at {uri} has expired: compare the clocks of both hosts")
        return SignedList(token, parsed)

    def _log(self, held_back: set[str]) -> None:
        for uri in sorted(held_back - self._held_back):
            _logger.warning("%s: ignoring a fetched version that is not newer than the known one", uri)
        self._held_back = held_back
