"""The tests that docs/explanation/security.md and docs/reference/conformance.md name exist."""

import re

import pytest

from tests.servers import ROOT

PAGES = [ROOT / "docs/explanation/security.md", ROOT / "docs/reference/conformance.md"]
NAMED = {page.name: re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page.read_text()) for page in PAGES}


def test_requirements_name_their_tests() -> None:
    assert all(len(named) > 20 for named in NAMED.values())
    assert not any("TODO" in page.read_text() for page in PAGES)


@pytest.mark.parametrize(("file", "name"), sorted({pair for named in NAMED.values() for pair in named}))
def test_named_test_is_there(file: str, name: str) -> None:
    found = [path.read_text() for path in (ROOT / "tests").glob(f"*/{file}")]  # some names are in two layers
    assert sum(f"def {name}(" in text for text in found) == 1


def test_named_code_is_there() -> None:
    named = set(re.findall(r"`(\w+/[\w/]+\.py)`", PAGES[1].read_text()))

    assert len(named) > 15
    assert {
        path for path in named if not any((ROOT / top / path).exists() for top in ("", "auth_app"))
    } == set()
