"""Fetch the status lists that an issuer publishes, and never go back to an older one."""

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

DEFAULT_TTL = 30  # seconds between fetches while no list says how many
MAXIMUM_SIZE = 2 * 1024 * 1024  # bytes of a signed list
MAXIMUM_LISTS = 100
_MARGIN = 5  # seconds before a list expires in which the next one is fetched

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class SignedList:
    """A list that was verified, and the JWT that it came in."""

    token: str
    parsed: StatusList


@dataclass(frozen=True, repr=False)
class StatusLists:
    """Status lists by their URI, and the URIs of those that could not be verified."""

    lists: dict[str, SignedList]
    left_out: frozenset[str] = frozenset()
    failed: frozenset[str] = (
        frozenset()
    )  # those that could not be fetched last: an older version may be known

    @property
    def is_stale(self) -> bool:
        """Tell whether one of them has expired."""
        return any(signed.parsed.is_stale for signed in self.lists.values())

    @property
    def content(self) -> bytes:
        """Return the signed lists as JSON."""
        return json.dumps({uri: signed.token for uri, signed in self.lists.items()}).encode()


class ListAddress:
    """Where an issuer publishes its status lists: what its metadata says, or a setting.

    At the address stands a document that names the lists, and below it, by number, each of them. `setting` is
    where they are fetched if that is not where the issuer says, as in a private network: their names stay.
    """

    def __init__(self, issuer: str, setting: str | None, discovery: Discovery) -> None:
        self._default = issuer + PATH
        self._setting = setting
        self._discovery = discovery

    @property
    def label(self) -> str:
        """Return the address for log lines."""
        return self._setting or self._default

    def find(self) -> str | None:
        """Return where to fetch, None if the issuer has no lists; may wait. Raises `Undetermined`."""
        return self._setting or self._discovery.metadata().status_lists_uri

    def prefix(self) -> str | None:
        """Return what the names of the lists begin with, None if it has none. Raises `Undetermined`."""
        if self._setting:
            return self._default
        metadata = self._discovery.known()
        if metadata is None or metadata.status_lists_uri is None:
            self._discovery.look_again()  # the issuer may have begun to publish lists
            metadata = self._discovery.known()
        if metadata is None:
            raise Undetermined(f"the metadata of {self._default.removesuffix(PATH)} is not known yet")
        return metadata.status_lists_uri

    def names(self, uri: str) -> bool:
        """Tell whether this is the name of a list of the issuer. Raises `Undetermined`."""
        prefix = self.prefix()
        return prefix is not None and uri.startswith(prefix) and is_path_of_list(uri.removeprefix(prefix))


def _seconds_until_due(known: StatusList) -> float:
    """Return when to fetch a list again: by its `ttl`, and in time before it expires."""
    remaining = known.expires_at - time.time() - _MARGIN
    return known.ttl if remaining <= 0 else min(known.ttl, max(1, remaining))


class StatusListsSource:
    """The issuer's status lists: a document that names them, and each of them."""

    def __init__(self, address: ListAddress, public_keys: PublicKeys, proxy: str | None = None) -> None:
        self._address = address
        self.url = address.label
        self._public_keys = public_keys
        self._fetcher = Fetcher(MEDIA_TYPE, MAXIMUM_SIZE, proxy=proxy)
        self._failing: set[str] = set()  # lists that could not be fetched last
        self._held_back: set[str] = set()  # lists of which the issuer published an older version last

    def fetch(self) -> StatusLists:
        """Return the lists as the issuer publishes them now. Raises."""
        url = self._address.find()
        if url is None:
            return StatusLists({})
        answer = json.loads(self._fetcher.fetch(url))
        uris = answer.get("status_lists") if isinstance(answer, dict) else None
        if not isinstance(uris, list) or len(uris) > MAXIMUM_LISTS:
            raise UnusableStatusList(f"{url} does not name the issuer's status lists")
        return self._fetch_lists(url, [str(uri) for uri in uris])

    def _fetch_lists(self, url: str, uris: list[str]) -> StatusLists:
        """Return the lists that can be had: one that cannot must not keep the others from being renewed."""
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
        """Return those lists of a copy that can be verified now. Raises `ValueError`, `Undetermined`."""
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
        """Return the newest version of each list: a revocation is never taken back by an older one.

        A list that is no longer published stays until it expires, so that it cannot come back older either.
        """
        merged = dict(new.lists)
        held_back = set()
        room = MAXIMUM_LISTS  # for lists that are published no longer: an issuer could rename them for ever
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
        """Return the shortest time for which a list need not be fetched again, in seconds."""
        return min(
            (_seconds_until_due(signed.parsed) for signed in document.lists.values()), default=DEFAULT_TTL
        )

    def _counts(self, known: StatusList) -> bool:
        """Tell whether the time of a list is to be believed: not with a revoked key, nor in the future."""
        return self._public_keys.verifies(known.kid, known.key) and known.issued_at <= time.time() + LEEWAY

    def _fetch_list(self, url: str, uri: str) -> SignedList:
        prefix = self._address.prefix() or ""
        if not self._address.names(uri):
            raise UnusableStatusList(f"{url} names a list that is not below {prefix}")
        token = self._fetcher.fetch(url + uri.removeprefix(prefix)).decode("ascii")
        parsed = parse_status_list(token, uri, self._public_keys)
        if parsed.is_stale:
            raise UnusableStatusList(f"the list at {uri} has expired: compare the clocks of both hosts")
        return SignedList(token, parsed)

    def _log(self, held_back: set[str]) -> None:
        for uri in sorted(held_back - self._held_back):
            _logger.warning("%s is older than the version known here, which stays in use", uri)
        self._held_back = held_back
