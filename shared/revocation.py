"""Know which tokens were revoked: from lists that the issuer publishes, without a call for each request.

One worker of a host fetches the signed lists once in a while, all read the copy that it keeps on disk, and a
request costs a look at one bit.
"""

import json
from pathlib import Path
from typing import Any

from shared.errors import InvalidToken
from shared.files import FollowedFile
from shared.health import Degraded
from shared.metrics import count_refusal
from shared.mirror import Fetcher, Mirror
from shared.public_keys import PublicKeys
from shared.settings import ResourceServerSettings
from shared.status_list import (
    MEDIA_TYPE,
    PATH,
    VALID,
    StatusList,
    UnusableStatusList,
    is_path_of_list,
    parse_status_list,
    read_reference,
)

DEFAULT_TTL = 30  # seconds between fetches while no list says how many
COOLDOWN = 1  # seconds: only a token that the issuer has signed can ask for a fetch
MAXIMUM_SIZE = 2 * 1024 * 1024  # bytes of a signed list
MAXIMUM_LISTS = 100

_STALE = "The service does not know whether the access token was revoked. Try again later."


class Revocations:
    """Tells which tokens were revoked, by the lists of the issuer that the settings name."""

    def __init__(self, settings: ResourceServerSettings, public_keys: PublicKeys) -> None:
        self._settings = settings
        self._public_keys = public_keys
        self._prefix = settings.issuer + PATH  # of the lists' own names; where they are fetched may differ
        self._url = settings.status_lists_url or self._prefix
        self._fetcher = Fetcher(MEDIA_TYPE, MAXIMUM_SIZE)
        self._mirror = Mirror(
            self._url,
            settings.status_lists_copy_file,
            self._fetch_lists,
            refresh=lambda: min((known.ttl for known in self._file.value.values()), default=DEFAULT_TTL),
            cooldown=COOLDOWN,
        )
        self._file: FollowedFile[dict[str, StatusList]] = FollowedFile(
            settings.status_lists_copy_file, self._read_copy, default={}, routine=True
        )

    def is_revoked(self, claims: dict[str, Any]) -> bool:
        """Tell from its claims whether a token that is otherwise good was revoked.

        Raises `InvalidToken` where that cannot be known, unless the settings accept such a token.
        """
        if self._settings.status_claim == "ignored":
            return False
        if "status" not in claims:  # a client's own token, or an issuer that keeps no lists
            return self._settings.status_claim == "required"
        try:
            uri, index = read_reference(claims)
            status_list = self._find(uri)
            if status_list is None or status_list.is_stale:
                if self._settings.stale_status_lists == "refuse":
                    count_refusal("status unknown")
                    raise InvalidToken(_STALE)
                if status_list is None:
                    return False
            return status_list[index] != VALID
        except (ValueError, IndexError):
            return True

    def check(self) -> dict[str, object]:
        """Return the seconds since the lists were up to date. Raises `Degraded` while they may not be."""
        if self._settings.status_claim == "ignored":
            return {}
        self._mirror.keep_current()
        told = {} if self.age is None else {"status_lists_age": round(self.age)}
        if problem := self._mirror.problem or self._file.problem:
            raise Degraded(problem, **told)
        return {**told}

    @property
    def age(self) -> float | None:
        """Return the seconds since the lists were up to date."""
        return self._mirror.age_of_copy

    def _find(self, uri: str) -> StatusList | None:
        """Return a list as it is known by now. Raises `ValueError` for one that is not the issuer's."""
        self._mirror.keep_current()
        # What a key has signed that was revoked meanwhile may be anybody's.
        found = self._file.value.get(uri)
        if found and found.kid in self._public_keys:
            return found
        if not (uri.startswith(self._prefix) and is_path_of_list(uri.removeprefix(self._prefix))):
            raise ValueError("the address in a token is compared, and never followed")
        self._mirror.ask()
        found = self._file.value.get(uri)
        return found if found and found.kid in self._public_keys else None

    def _fetch_lists(self) -> bytes:
        """Return what the copy is to hold: the issuer's lists as they are now. Raises."""
        answer = json.loads(self._fetcher.fetch(self._url))
        uris = answer.get("status_lists") if isinstance(answer, dict) else None
        if not isinstance(uris, list) or len(uris) > MAXIMUM_LISTS:
            raise UnusableStatusList(f"{self._url} does not name the issuer's status lists")
        return json.dumps({uri: self._fetch_list(uri) for uri in uris}).encode()

    def _fetch_list(self, uri: object) -> str:
        path = str(uri).removeprefix(self._prefix)
        if not is_path_of_list(path):
            raise UnusableStatusList(f"{self._url} names a list that is not below {self._prefix}")
        token = self._fetcher.fetch(self._url + path).decode("ascii")
        if parse_status_list(token, self._prefix + path, self._public_keys).is_stale:
            raise UnusableStatusList(f"the list at {uri} has expired: look at the clocks")
        return token

    def _read_copy(self, path: Path) -> dict[str, StatusList]:
        try:
            tokens: dict[str, str] = json.loads(path.read_bytes())
            return {uri: parse_status_list(token, uri, self._public_keys) for uri, token in tokens.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise UnusableStatusList(f"{path} cannot be read ({error})") from None
