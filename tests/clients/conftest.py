"""Fixtures: one pair of services for all clients, which are started when a test needs them."""

from collections.abc import Iterator

import pytest

from tests.clients.programs import Clients, serve_clients


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with serve_clients(tmp_path_factory.mktemp("clients")) as running:
        yield running
