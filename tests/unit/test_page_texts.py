"""Templates use only texts that exist, and every text is used."""

import re

from auth_app.pages.texts import TEXTS
from tests.servers import ROOT


def read_sources() -> str:
    """Return auth_app's templates and its code, whose errors name texts too."""
    files = (ROOT / "auth_app").rglob("*")
    sources = (path for path in files if path.suffix in {".html", ".py"} and path.name != "texts.py")
    return "".join(path.read_text() for path in sources)


def test_templates_use_texts_that_exist() -> None:
    used = set(re.findall(r"\btexts\.([a-z_]+)", read_sources()))

    assert len(used) > 20
    assert used - TEXTS.keys() - {"get", "items", "py"} == set()


def test_every_text_is_used() -> None:
    assert TEXTS.keys() - set(re.findall(r"\w+", read_sources())) == set()
