"""SECURITY.md names tests that there are."""

import re

import pytest

from tests.servers import ROOT

NAMED = sorted(set(re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", (ROOT / "SECURITY.md").read_text())))


def test_requirements_name_their_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_named_test_is_there(file: str, name: str) -> None:
    found = list((ROOT / "tests").glob(f"*/{file}"))
    assert len(found) == 1
    assert f"def {name}(" in found[0].read_text()
