"""SECURITY.md names tests that there are."""

import re

import pytest

from tests.servers import ROOT

NAMED = sorted(set(re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", (ROOT / "SECURITY.md").read_text())))


def test_requirements_name_their_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_named_test_is_there(file: str, name: str) -> None:
    found = [path.read_text() for path in (ROOT / "tests").glob(f"*/{file}")]  # some names are in two layers
    assert sum(f"def {name}(" in text for text in found) == 1
