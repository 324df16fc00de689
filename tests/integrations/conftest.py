"""Fixtures: third-party applications that the kit protects."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from flask import Flask

from flask_resource_server import ResourceServer
from tests.conftest import KeyPair
from tests.forger import COURSES, ISSUER
from tests.servers import find_port

Protect: TypeAlias = Callable[..., ResourceServer]


@pytest.fixture
def protect(key_pair: KeyPair) -> Protect:
    """A function that makes an application a resource server for the tests' issuer."""

    def protect(app: Flask, **changes: Any) -> ResourceServer:
        settings: dict[str, Any] = {
            "issuer": ISSUER,
            "resource": COURSES,
            "public_key_file": key_pair.public_file,
            "status_claim": "ignored",
        }
        return ResourceServer(app, **(settings | changes))

    return protect


@pytest.fixture
def protect_without_keys() -> Protect:
    """The same, but the issuer is down: no token can be verified."""

    def protect(app: Flask) -> ResourceServer:
        return ResourceServer(app, issuer=f"http://127.0.0.1:{find_port()}", resource=COURSES)

    return protect


@pytest.fixture(params=[True, False], ids=["testing", "not testing"])
def testing(request: pytest.FixtureRequest) -> bool:
    """Frameworks handle errors in one way under test and in another way in production."""
    value: bool = request.param
    return value
