"""A pytest plugin with the fixture `tokens`; list this module in `pytest_plugins` to use it."""

from collections.abc import Iterator

import pytest
from flask import Flask

from flask_resource_server.testing import TokenIssuer


@pytest.fixture(scope="session")
def token_issuer() -> TokenIssuer:
    """Return an issuer whose key is generated once for all tests."""
    return TokenIssuer()


@pytest.fixture
def tokens(app: Flask, token_issuer: TokenIssuer) -> Iterator[TokenIssuer]:
    """Yield the issuer that `app`, a fixture of your own, trusts for the length of the test."""
    with token_issuer.trusted_by(app):
        yield token_issuer
