"""What the verifier asks of the keys that it is given."""

from collections.abc import Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.tokens import TrustedIssuer, Verifier
from tests.forger import COURSES, ISSUER, Forger


class KeysOnDemand(Mapping[str, RSAPublicKey]):
    """A key set that fetches a key when it is looked up, and until then does not know of it."""

    def __init__(self, kid: str, key: RSAPublicKey) -> None:
        self._published = {kid: key}
        self._known: dict[str, RSAPublicKey] = {}

    def __getitem__(self, kid: str) -> RSAPublicKey:
        self._known.update(self._published)
        return self._known[kid]

    def __contains__(self, kid: object) -> bool:
        return kid in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def test_key_is_looked_up_even_if_it_is_not_known_yet(forger: Forger) -> None:
    keys = KeysOnDemand(forger.kid, forger.key.public_key())

    issuer = TrustedIssuer(ISSUER, frozenset([COURSES]), keys, lambda _: False)
    claims = Verifier(issuer).verify(forger.sign())

    assert claims["sub"] == forger.subject
