"""Fixtures: applications that the kit protects."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_resource_server import ResourceServer
from tests.conftest import KeyPair
from tests.forger import COURSES, ISSUER


@pytest.fixture
def make_app(key_pair: KeyPair) -> Callable[..., Flask]:
    def make(**settings: Any) -> Flask:
        app = Flask("service")
        defaults = {"issuer": ISSUER, "resource": COURSES, "public_key_file": key_pair.public_file}
        ResourceServer(app, **{**defaults, **settings})
        return app

    return make
