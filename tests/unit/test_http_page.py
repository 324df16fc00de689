"""docs/reference/http.md names every route, and its anchors resolve."""

import re

from flask.testing import FlaskClient

from shared.contract import path_of
from tests.servers import ROOT

PAGE = ROOT / "docs/reference/http.md"


def test_page_names_every_route(service: FlaskClient) -> None:
    page = PAGE.read_text()
    routes = {
        f"{method} {path_of(rule.rule)}"
        for rule in service.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {route for route in routes if f"`{route}`" not in page} == set()


def test_links_within_the_page_lead_somewhere() -> None:
    page = PAGE.read_text()
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]

    assert len(set(anchors)) == len(anchors), "two titles have the same anchor"
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)
