"""Fixtures: one pair of services for all examples, which are started when a test needs them."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from flask_resource_server.tokens.keys import thumbprint
from tests.examples.programs import Examples, serve_examples
from tests.forger import Forger


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    with serve_examples(tmp_path_factory.mktemp("examples")) as running:
        yield running


@pytest.fixture(scope="session")
def genuine(examples: Examples) -> Forger:
    """Signs with the key of the running auth_app, for the service in `aud`."""
    key = load_pem_private_key((examples.pair.auth.log.parent / "keys/private_key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return Forger(key, thumbprint(key.public_key()), issuer=examples.pair.auth.url)
