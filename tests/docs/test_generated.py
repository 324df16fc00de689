"""The pages that are generated are those that the code gives now, and they leave nothing out."""

import re
from pathlib import Path

import pytest

from auth_app.settings import AuthSettings
from course_app.settings import CourseSettings
from docs.generate.pages import PAGES
from tests.servers import ROOT

FIELDS = {**AuthSettings.model_fields, **CourseSettings.model_fields}


@pytest.mark.parametrize("name", PAGES)
def test_generated_file_is_current(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name](), "out of date: run scripts/docs generate"


def test_page_names_every_setting_with_its_default() -> None:
    services = PAGES["docs/reference/settings.md"]().partition("## A service that uses the kit")[0]
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \|(.*?)\|", services, re.MULTILINE))

    assert set(rows) == {name.upper() for name in FIELDS}
    for name, field in FIELDS.items():
        default = field.default
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        text = text.lower() if isinstance(default, bool) else text
        assert rows[name.upper()].strip() == ("" if default in (None, ()) else f"`{text}`")


@pytest.mark.parametrize("name", FIELDS)
def test_setting_is_described_in_sentences(name: str) -> None:
    description = FIELDS[name].description or ""

    assert re.fullmatch(r"[A-Z`].*\.", description), name
    assert isinstance(FIELDS[name].default, bool | int | Path) or len(description) > 40
