"""docs/reference/http.md names every route, its limits match the code, and its anchors resolve."""

import inspect
import re

import pytest
from flask.testing import FlaskClient

from auth_app.oauth import authorization_codes, authorization_request, well_known
from shared import bodies, request_id
from shared.contract import path_of
from tests.figures import find_figures
from tests.servers import ROOT

PAGE = ROOT / "docs/reference/http.md"

(LINE,) = re.findall(r"^limit_request_line = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
(METADATA_AGE,) = re.findall(r"max-age=(\d+)", inspect.getsource(well_known))
LIMITS = [
    (r"Bodies have at most (\d+) KiB", bodies.MAXIMUM_BYTES // 1024),
    (r"forms at most (\d+) fields", bodies.MAXIMUM_FIELDS),
    (r"request line at most (\d+) bytes", int(LINE)),
    (r"once, within (\d+) seconds", authorization_codes.LIFETIME),
    (r"`nonce` \| \| at most (\d+) characters", authorization_request._MAXIMUM_NONCE),
    (r"protected resources \| `public, max-age=(\d+)`", int(METADATA_AGE)),
]


@pytest.mark.parametrize(("pattern", "value"), LIMITS, ids=[pattern for pattern, _ in LIMITS])
def test_limit_matches_the_code(pattern: str, value: int) -> None:
    assert find_figures(PAGE.read_text(), pattern) == [value]


def test_length_of_request_ids_matches_the_page() -> None:
    shortest, longest = map(int, find_figures(PAGE.read_text(), r"\((\d+) to (\d+) characters of `A-Z"))

    fitting = [length for length in range(100) if request_id._WELL_FORMED.fullmatch("x" * length)]
    assert (fitting[0], fitting[-1]) == (shortest, longest)


def test_page_names_every_route(service: FlaskClient) -> None:
    page = PAGE.read_text()
    routes = {
        f"{method} {path_of(rule.rule)}"
        for rule in service.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {route for route in routes if f"`{route}`" not in page} == set()


def test_links_within_the_page_resolve() -> None:
    page = PAGE.read_text()
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]

    assert len(set(anchors)) == len(anchors), "two titles have the same anchor"
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)
