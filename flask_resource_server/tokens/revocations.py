"""Look up whether a token was revoked, in the status lists of its issuer.

The lists are fetched in the background, so a request only reads a bit in memory.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask_resource_server.documents.disk_copy import DiskCopy, NoDiskCopy
from flask_resource_server.documents.fetched_copy import FetchedCopy
from flask_resource_server.exceptions import Degraded, Undetermined
from flask_resource_server.tokens.public_keys import PublicKeys
from flask_resource_server.tokens.status_list import VALID, StatusList, read_reference
from flask_resource_server.tokens.status_lists import ListAddress, StatusListsSource

COOLDOWN = 1  # seconds; short, because only a token that the issuer has signed can cause a fetch

_UNKNOWN = "cannot determine whether the token was revoked: its status list could not be fetched"


class Revocations:
    """Determines whether tokens were revoked. Safe to share between threads and across forks.

    `status_claim` and `stale_status_lists` are the settings of `Issuer`.
    """

    def __init__(
        self,
        address: ListAddress,
        public_keys: PublicKeys,
        disk: DiskCopy | NoDiskCopy,
        *,
        status_claim: str,
        stale_status_lists: str,
        proxy: str | None = None,
    ) -> None:
        self._address = address
        self._public_keys = public_keys
        self._status_claim = status_claim
        self._accepts_stale_lists = stale_status_lists == "accept"
        source = StatusListsSource(address, public_keys, proxy)
        self._copy = FetchedCopy(source, disk, cooldown=COOLDOWN)

    def is_revoked(self, claims: Mapping[str, Any]) -> bool:
        """Return whether a token with these claims, which has passed every other check, was revoked.

        Raises `Undetermined` if that cannot be determined, unless the settings accept such tokens: a 401
        would make the client discard a token that may be good.
        """
        if self._status_claim == "ignored":
            return False
        if "status" not in claims:  # a client's own token, or an issuer that keeps no lists
            return self._status_claim == "required"
        try:
            uri, index = read_reference(claims)
            status_list = self._find(uri)
            if status_list and status_list[index] != VALID:  # even if stale: revocations are final
                return True
        except (ValueError, IndexError):
            return True
        if status_list is None or status_list.is_stale:
            self._check_stale(status_list)
        return False

    def _check_stale(self, known: StatusList | None) -> None:
        """Raise `Undetermined`, unless the settings accept tokens whose list cannot be fetched.

        They do not accept a token whose list the issuer does not publish, although it can be reached.
        """
        problem = self._copy.problem
        if self._accepts_stale_lists and (known or problem or self._copy.document is None):
            return
        hint = "" if self._accepts_stale_lists else " (with STALE_STATUS_LISTS=accept it would be accepted)"
        raise Undetermined(f"{problem or _UNKNOWN}{hint}")

    def check(self) -> dict[str, object]:
        """Return the seconds since the lists were current, as `status_lists_age`.

        Raises `Degraded` while they may be out of date, and `Undetermined` while tokens are refused for that.
        """
        if self._status_claim == "ignored":
            return {}
        problem, age, document = self._copy.check(), self.age, self._copy.document
        details = {} if age is None else {"status_lists_age": round(age)}
        if document is None or document.left_out or document.is_stale:
            problem = problem or "the status lists are not known, or have expired"
            if not self._accepts_stale_lists:
                raise Undetermined(problem)
        elif document.failed:
            problem = problem or f"{min(document.failed)} could not be fetched"
        if problem:
            raise Degraded(problem, **details)
        return {**details}

    @property
    def age(self) -> float | None:
        """Return the seconds since the lists were known to be current, or None if they never were."""
        return self._copy.age

    def _find(self, uri: str) -> StatusList | None:
        """Return a list, or None if it cannot be fetched. Raises `ValueError` if it is not the issuer's."""
        found = self._look_up(uri)
        if found and not found.is_stale:
            return found
        with suppress(Undetermined):  # until the metadata is known, it may be the issuer's
            if not self._address.names(uri):
                raise ValueError("a URI in a token is only compared, and never fetched")
        self._copy.request_renewal()
        return self._look_up(uri)

    def _look_up(self, uri: str) -> StatusList | None:
        document = self._copy.document
        signed = document.lists.get(uri) if document else None
        # If its key has been revoked since, anyone may have signed the list.
        if signed is None or not self._public_keys.verifies(signed.parsed.kid, signed.parsed.key):
            return None
        return signed.parsed
