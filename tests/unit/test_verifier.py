"""How the verifier uses the keys and the profile of each issuer."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.tokens import Profile, RefusedToken, TrustedIssuer, Verifier
from flask_resource_server.tokens.checks import CHECKS
from flask_resource_server.tokens.profiles import RFC9068
from tests.forger import COURSES, ISSUER, Forger


class KeysOnDemand(Mapping[str, RSAPublicKey]):
    """A key set that fetches a key on lookup, and does not contain it until then."""

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


def trust(keys: Mapping[str, RSAPublicKey], url: str = ISSUER, profile: Profile = RFC9068) -> TrustedIssuer:
    return TrustedIssuer(url, frozenset([COURSES]), keys, lambda _: False, profile)


def test_key_is_looked_up_even_if_it_is_not_known_yet(forger: Forger) -> None:
    keys = KeysOnDemand(forger.kid, forger.key.public_key())

    claims = Verifier(trust(keys)).verify(forger.sign())

    assert claims["sub"] == forger.subject


OTHER = "https://other.example.com"
LONGER = replace(RFC9068, maximum_length=2 * RFC9068.maximum_length)


@pytest.fixture
def long_token(forger: Forger) -> str:
    return forger.sign(filler="x" * RFC9068.maximum_length)


def test_longer_tokens_of_one_issuer_are_not_allowed_for_another(forger: Forger, long_token: str) -> None:
    keys = {forger.kid: forger.key.public_key()}
    verifier = Verifier(trust(keys), trust(keys, OTHER, LONGER))

    with pytest.raises(RefusedToken) as refusal:
        verifier.verify(long_token)

    assert refusal.value.reason == "form"
    (check, is_passed, _advice), *others = verifier.explain(long_token)
    assert not is_passed
    assert check.endswith(f", at most {RFC9068.maximum_length} characters")
    assert [is_passed for _check, is_passed, _advice in others] == [True] * len(CHECKS)


def test_issuers_profile_sets_the_maximum_length_of_its_tokens(forger: Forger, long_token: str) -> None:
    keys = {forger.kid: forger.key.public_key()}
    verifier = Verifier(trust(keys, OTHER), trust(keys, profile=LONGER))

    assert verifier.verify(long_token).subject == forger.subject
    assert all(is_passed for _check, is_passed, _advice in verifier.explain(long_token))
