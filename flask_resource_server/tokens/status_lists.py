"""Find out which tokens were revoked from the status lists that the issuer publishes.

The lists are fetched in the background: a request costs a look at one bit.
"""

import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from flask_resource_server.documents.disk_copy import DiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.fetching import Fetcher
from flask_resource_server.exceptions import Degraded, Undetermined
from flask_resource_server.tokens.checks import LEEWAY
from flask_resource_server.tokens.public_keys import PublicKeys
from flask_resource_server.tokens.status_list import (
    MEDIA_TYPE,
    PATH,
    VALID,
    StatusList,
    UnusableStatusList,
    is_path_of_list,
    parse_status_list,
    read_reference,
)
from shared.metrics import count_refusal
from shared.settings import ResourceServerSettings

DEFAULT_TTL = 30  # seconds between fetches while no list says how many
COOLDOWN = 1  # seconds: only a token that the issuer has signed can cause a fetch
MAXIMUM_SIZE = 2 * 1024 * 1024  # bytes of a signed list
MAXIMUM_LISTS = 100

_UNKNOWN = "The service cannot tell now whether the access token was revoked. Try again later."

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

    @property
    def is_stale(self) -> bool:
        """Tell whether one of them has expired."""
        return any(signed.parsed.is_stale for signed in self.lists.values())

    @property
    def content(self) -> bytes:
        """Return the signed lists as JSON."""
        return json.dumps({uri: signed.token for uri, signed in self.lists.items()}).encode()


class StatusListsSource:
    """The issuer's status lists: a document that names them, and each of them."""

    def __init__(self, settings: ResourceServerSettings, public_keys: PublicKeys) -> None:
        self._prefix = settings.issuer + PATH  # of the lists' own names; where they are fetched may differ
        self.url = settings.status_lists_url or self._prefix
        self._public_keys = public_keys
        self._fetcher = Fetcher(MEDIA_TYPE, MAXIMUM_SIZE)
        self._held_back: set[str] = set()  # lists of which the issuer published an older version last

    def fetch(self) -> StatusLists:
        """Return the lists as the issuer publishes them now. Raises."""
        answer = json.loads(self._fetcher.fetch(self.url))
        uris = answer.get("status_lists") if isinstance(answer, dict) else None
        if not isinstance(uris, list) or len(uris) > MAXIMUM_LISTS:
            raise UnusableStatusList(f"{self.url} does not name the issuer's status lists")
        return StatusLists({str(uri): self._fetch_list(str(uri)) for uri in uris})

    def parse(self, content: bytes) -> StatusLists:
        """Return those lists of a copy that can be verified now. Raises `ValueError`, `Undetermined`."""
        tokens = json.loads(content)
        if not isinstance(tokens, dict):
            raise UnusableStatusList("it is not a JSON object")
        lists, left_out = {}, set()
        for uri, token in tokens.items():
            try:
                if self.names(uri):
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
        for uri, signed in (known.lists if known else {}).items():
            if uri not in merged:
                if self._counts(signed.parsed) and not signed.parsed.is_stale:
                    merged[uri] = signed
            elif self._counts(signed.parsed) and not merged[uri].parsed.may_replace(signed.parsed):
                merged[uri] = signed
                held_back.add(uri)
        self._log(held_back)
        return StatusLists(merged, new.left_out - merged.keys())

    def refresh(self, document: StatusLists) -> float:
        """Return the shortest time for which a list need not be fetched again, in seconds."""
        return min((signed.parsed.ttl for signed in document.lists.values()), default=DEFAULT_TTL)

    def _counts(self, known: StatusList) -> bool:
        """Tell whether the time of a list is to be believed: not with a revoked key, nor in the future."""
        return self._public_keys.knows(known.kid) and known.issued_at <= time.time() + LEEWAY

    def names(self, uri: str) -> bool:
        """Tell whether this is the URI of a list of the issuer."""
        return uri.startswith(self._prefix) and is_path_of_list(uri.removeprefix(self._prefix))

    def _fetch_list(self, uri: str) -> SignedList:
        if not self.names(uri):
            raise UnusableStatusList(f"{self.url} names a list that is not below {self._prefix}")
        token = self._fetcher.fetch(self.url + uri.removeprefix(self._prefix)).decode("ascii")
        parsed = parse_status_list(token, uri, self._public_keys)
        if parsed.is_stale:
            raise UnusableStatusList(f"the list at {uri} has expired: compare the clocks of both hosts")
        return SignedList(token, parsed)

    def _log(self, held_back: set[str]) -> None:
        for uri in sorted(held_back - self._held_back):
            _logger.warning("%s is older than the version known here, which stays in use", uri)
        self._held_back = held_back


class Revocations:
    """Tells which tokens were revoked, by the lists of the issuer that the settings name."""

    def __init__(self, settings: ResourceServerSettings, public_keys: PublicKeys) -> None:
        self._settings = settings
        self._public_keys = public_keys
        self._source = StatusListsSource(settings, public_keys)
        disk = DiskCopy(settings.status_lists_copy_file, "STATUS_LISTS_COPY_FILE")
        self._copy = FetchedCopy(self._source, disk, cooldown=COOLDOWN)

    def is_revoked(self, claims: dict[str, Any]) -> bool:
        """Tell from its claims whether a token that is otherwise good was revoked.

        Raises `Undetermined` where that cannot be known, unless the settings accept such a token: a 401 would
        tell the client to throw it away.
        """
        if self._settings.status_claim == "ignored":
            return False
        if "status" not in claims:  # a client's own token, or an issuer that keeps no lists
            return self._settings.status_claim == "required"
        try:
            uri, index = read_reference(claims)
            status_list = self._find(uri)
            if status_list and status_list[index] != VALID:  # even if stale: a revocation is not taken back
                return True
        except (ValueError, IndexError):
            return True
        if (status_list is None or status_list.is_stale) and self._settings.stale_status_lists == "refuse":
            count_refusal("status unknown")
            raise Undetermined(_UNKNOWN)
        return False

    def check(self) -> dict[str, object]:
        """Return the seconds since the lists were current.

        Raises `Degraded` while they may not be, and `Undetermined` while tokens are refused for that.
        """
        if self._settings.status_claim == "ignored":
            return {}
        problem, age, document = self._copy.check(), self.age, self._copy.document
        details = {} if age is None else {"status_lists_age": round(age)}
        if document is None or document.left_out or document.is_stale:
            problem = problem or "the status lists are not known, or have expired"
            if self._settings.stale_status_lists == "refuse":
                raise Undetermined(problem)
        if problem:
            raise Degraded(problem, **details)
        return {**details}

    @property
    def age(self) -> float | None:
        """Return the seconds since the lists were current."""
        return self._copy.age

    def _find(self, uri: str) -> StatusList | None:
        """Return a list as it is known by now. Raises `ValueError` for one that is not the issuer's."""
        found = self._look_up(uri)
        if found:
            return found
        if not self._source.names(uri):
            raise ValueError("the address in a token is compared, and never followed")
        self._copy.look_again()
        return self._look_up(uri)

    def _look_up(self, uri: str) -> StatusList | None:
        document = self._copy.document
        signed = document.lists.get(uri) if document else None
        # What a key has signed that was revoked meanwhile may be anybody's.
        return signed.parsed if signed and self._public_keys.knows(signed.parsed.kid) else None
