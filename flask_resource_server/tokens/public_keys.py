"""The public keys that verify tokens now: from a setting, from a PEM file, or from a JWK Set at a URL."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.documents.fetching import Fetcher, FetchError
from flask_resource_server.documents.files import FollowedFile
from flask_resource_server.exceptions import Degraded, Undetermined
from flask_resource_server.tokens.discovery import Discovery
from flask_resource_server.tokens.key_set import KeySet, NoUsableKey, parse_key_set, read_copy
from flask_resource_server.tokens.keys import PublishedKey, parse_public_keys, read_key_file

MAXIMUM_SIZE = 64 * 1024  # bytes of a JWK Set

_logger = logging.getLogger(__name__)

_UNKNOWN = "the issuer's current keys are not known"


class PublicKeys(Mapping[str, RSAPublicKey], ABC):
    """The keys that verify now, by key ID: a token's `kid` chooses its key (RFC 7515 section 4.1.4).

    Keys are added and removed without a restart. Looking up an unknown key, also with `in`, may wait for a
    fetch of the issuer's keys; `verifies` and iteration never fetch for a single key. While no key is known,
    every method raises `UnusableKey` or `Undetermined`. Safe to share between threads and across forks.
    """

    @abstractmethod
    def read(self) -> Mapping[str, PublishedKey]:
        """Return the keys as they are now, including retiring keys that have expired."""

    def find_new(self, kid: str) -> PublishedKey:
        """Return a key that `read` does not have, if it can be fetched. Raises `KeyError`, `Undetermined`."""
        raise KeyError(kid)

    def verifies(self, kid: str, key: RSAPublicKey) -> bool:
        """Return whether `kid` names exactly this key by what is known now. Requests no fetch."""
        published = self.read().get(kid)
        return published is not None and not published.is_gone and published.key == key

    def check(self) -> None:
        """Raise `Degraded` while only an older state of the keys is known, or what `read` raises."""
        self.read()

    def check_startup(self) -> None:
        """Raise `UnusableKey` if the service must not start. Fetches nothing, starts no thread."""
        self.read()

    @property
    def age(self) -> float | None:
        """Return the seconds since the keys were known to be current, or None if they are not fetched."""
        return None

    def __getitem__(self, kid: str) -> RSAPublicKey:
        published = self.read().get(kid) or self.find_new(kid)
        if published.is_gone:
            raise KeyError(kid)
        return published.key

    def __iter__(self) -> Iterator[str]:
        return (kid for kid, published in self.read().items() if not published.is_gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class FixedKeys(PublicKeys):
    """Keys that never change, such as those in a setting."""

    def __init__(self, keys: Mapping[str, PublishedKey]) -> None:
        self._keys = keys

    def read(self) -> Mapping[str, PublishedKey]:
        """Return the keys."""
        return self._keys


class FollowedKeys(PublicKeys):
    """The keys of a PEM file, which is reloaded when it changes."""

    def __init__(self, file: FollowedFile[dict[str, PublishedKey]]) -> None:
        self._file = file

    def read(self) -> Mapping[str, PublishedKey]:
        """Return the keys of the last good version of the file. Raises `UnusableKey`."""
        return self._file.value

    def find_new(self, kid: str) -> PublishedKey:
        """Return a key that was added since the file was last checked. Raises `KeyError`, `UnusableKey`."""
        self._file.reload_if_changed()
        return self.read()[kid]

    def check(self) -> None:
        """Raise `Degraded` while the file is not good, or `UnusableKey` if it never was."""
        self.read()
        if problem := self._file.problem:
            raise Degraded(problem)


class KeySetSource:
    """A JWK Set at a URL, or at the `jwks_uri` in the issuer's metadata."""

    def __init__(self, address: str | Discovery, refresh: float, proxy: str | None = None) -> None:
        self._address = address
        self.url = address if isinstance(address, str) else f"the jwks_uri of {address.url}"
        self._refresh = refresh
        self._fetcher = Fetcher("application/json", MAXIMUM_SIZE, proxy=proxy)
        self._problem: str | None = None  # the problem that was last logged

    def fetch(self) -> KeySet:
        """Return the set as the issuer publishes it now; it is empty if no key in it can be used.

        Raises `UnusableKey` if the response is not a JWK Set, or as `Fetcher` and `Discovery.metadata` do.
        """
        body = self._fetch()
        try:
            found = parse_key_set(body)
        # The previous keys have been removed, whatever was published in their place.
        except NoUsableKey as error:
            found = KeySet({}, f"{self.url}: {error}")
        if found.problem and found.problem != self._problem:
            _logger.error("%s; no token can be verified", found.problem)
        self._problem = found.problem
        return found

    def _fetch(self) -> bytes:
        if isinstance(self._address, str):
            return self._fetcher.fetch(self._address)
        try:
            return self._fetcher.fetch(self._address.metadata().jwks_uri)
        except FetchError:
            self._address.request_renewal()  # for the next attempt: `jwks_uri` may have changed
            raise

    def parse(self, content: bytes) -> KeySet:
        """Return the set that a copy on disk holds. Raises `UnusableKey`."""
        return read_copy(content)

    def merge(self, new: KeySet, known: KeySet | None) -> KeySet:  # noqa: ARG002
        """Return the newer set: a key that is not in it has been removed."""
        return new

    def refresh(self, document: KeySet) -> float:  # noqa: ARG002
        """Return the maximum number of seconds between two fetches."""
        return self._refresh


class FetchedKeys(PublicKeys):
    """The keys of a JWK Set that is fetched; while that fails, those of the last good copy."""

    def __init__(self, copy: FetchedCopy[KeySet]) -> None:
        self._copy = copy

    def read(self) -> Mapping[str, PublishedKey]:
        """Return the newest known keys.

        Raises `Undetermined` if none were ever fetched, or if none of the issuer's keys can be used.
        """
        document = self._copy.document
        if document is None or document.problem:
            self._copy.request_renewal()
            document = self._copy.document
        if document is None or document.problem:
            raise Undetermined((document and document.problem) or self._copy.problem or _UNKNOWN)
        return document.keys

    def find_new(self, kid: str) -> PublishedKey:
        """Return the key after fetching the set again, within the limits of `FetchedCopy`.

        Raises `KeyError` if the issuer does not publish it, and `Undetermined` if that cannot be determined
        now: a 401 would make the client discard a token that may be good.
        """
        is_current = self._copy.request_renewal()
        published = self.read().get(kid)
        if published is None and not is_current:
            raise Undetermined(self._copy.problem or _UNKNOWN)
        if published is None:
            raise KeyError(kid)
        return published

    def check(self) -> None:
        """Raise `Degraded` if the last fetch failed, or what `read` raises."""
        problem = self._copy.check()
        self.read()
        if problem:
            raise Degraded(problem)

    def check_startup(self) -> None:
        """Do nothing: a service may start while the issuer is down, and fetches its keys later."""

    @property
    def age(self) -> float | None:
        """Return the seconds since the set was fetched."""
        return self._copy.age


def open_keys(text: str | None, file: Path | None, setting: str, interval: float = 0) -> PublicKeys:
    """Return the keys of PEM text, which is the value of the setting `setting`, or of a PEM file.

    Text is parsed now. A file is read when it is first needed and reloaded when it changes: a key that was
    added verifies at once, and one that was removed verifies for at most `interval` seconds longer. Raises
    `UnusableKey`.
    """
    if text is not None:
        # Environment files often cannot contain line breaks, and have `\n` instead.
        return FixedKeys(parse_public_keys(text.replace("\\n", "\n"), setting))
    assert file is not None
    return FollowedKeys(FollowedFile(file, read_key_file, interval))
