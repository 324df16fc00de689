"""Hold the public keys that verify now, wherever the settings say that they come from."""

from collections.abc import Callable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.files import FollowedFile
from shared.health import Degraded
from shared.key_set import convert_key_set
from shared.keys import PublishedKey, UnusableKey, parse_public_keys, read_key_file
from shared.mirror import Fetcher, Mirror
from shared.settings import ResourceServerSettings, Settings

MAXIMUM_SIZE = 64 * 1024  # bytes of a JWK Set


class PublicKeys(Mapping[str, RSAPublicKey]):
    """The keys that verify now, by key ID, so that a token's `kid` chooses its key (RFC 7515 section 4.1.4).

    `read` is called at every use, so that keys come and go without a restart, and `ask` for a key that is not
    there, which is looked for again then. `problem` returns what keeps the newest state from being known, and
    `age` for how many seconds it has not been asked for, if it is fetched.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, PublishedKey]],
        problem: Callable[[], str | None] = lambda: None,
        ask: Callable[[], None] = lambda: None,
        age: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._read = read
        self._problem = problem
        self._ask = ask
        self.age = age

    def __getitem__(self, kid: str) -> RSAPublicKey:
        published = self._read().get(kid)
        if published is None:
            self._ask()
            published = self._read()[kid]
        if published.is_gone:
            raise KeyError(kid)
        return published.key

    def __iter__(self) -> Iterator[str]:
        return (kid for kid, published in self._read().items() if not published.is_gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def check(self) -> None:
        """Raise `Degraded` while the newest state of the keys is not known."""
        if problem := self._problem():
            raise Degraded(problem)


def open_public_keys(settings: Settings) -> PublicKeys:
    """Take the public keys from PEM text, from a file that is followed, or from a JWK Set that is mirrored.

    Raises `UnusableKey`.
    """
    if settings.jwt_public_key:
        # An environment file often cannot hold line breaks and spells them out.
        keys = parse_public_keys(settings.jwt_public_key.replace("\\n", "\n"), "JWT_PUBLIC_KEY")
        return PublicKeys(lambda: keys)
    if isinstance(settings, ResourceServerSettings) and settings.jwks_url:
        return _mirror_key_set(settings, settings.jwks_url)
    file = FollowedFile(settings.jwt_public_key_file, read_key_file)
    return PublicKeys(lambda: file.value, lambda: file.problem)


def _mirror_key_set(settings: ResourceServerSettings, url: str) -> PublicKeys:
    copy = settings.jwks_copy_file
    fetcher = Fetcher("application/json", MAXIMUM_SIZE)
    mirror = Mirror(
        url,
        copy,
        lambda: convert_key_set(fetcher.fetch(url)),
        refresh=lambda: settings.jwks_refresh,
        cooldown=settings.jwks_cooldown,
    )
    try:
        file = FollowedFile(copy, read_key_file)
    except UnusableKey:
        if problem := mirror.renew(0):
            raise UnusableKey(
                f"{problem}, and there is no good copy: start the issuer first, and let JWKS_COPY_FILE name "
                "a file that this service may write"
            ) from None
        file = FollowedFile(copy, read_key_file)

    def read() -> Mapping[str, PublishedKey]:
        mirror.keep_current()
        return file.value

    return PublicKeys(read, lambda: mirror.problem or file.problem, mirror.ask, lambda: mirror.age_of_copy)
