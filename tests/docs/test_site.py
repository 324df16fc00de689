"""The documentation as a static site: no link is broken, and nothing is loaded from another host."""

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from docs.generate.markdown import adapt_lists
from tests.conftest import find_browser
from tests.docs.site import Document, build, find_urls, read_documents
from tests.servers import ROOT

# What the theme could load from other hosts, and what a page would have to contain for that.
UNUSED = {
    "https://api.github.com/": 'data-md-component="source"',  # `repo_url`
    "https://${e}/api/v4/": 'data-md-component="source"',
    "https://unpkg.com/mermaid@": 'class="mermaid"',
    "https://unpkg.com/resize-observer-polyfill": "",  # a browser without ResizeObserver, as before 2020
}
# Files that no page links to.
UNTRACKED = ["deploy/systemd/auth.service", "docs/images/first-application.png"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site").resolve()
    built = build(folder, untracked=UNTRACKED)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[Path, Document]:
    return read_documents(site)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The URL at which the site is served."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_every_page_is_published(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]

    assert len(pages) > 20
    for page in pages:
        assert (site / ("" if page.name == "index" else page) / "index.html").is_file(), page
    assert not (site / "generate").exists()


def test_no_link_is_broken(documents: dict[Path, Document]) -> None:
    dead = {str(path): list(document.find_dead(documents)) for path, document in documents.items()}

    assert {path: urls for path, urls in dead.items() if urls} == {}
    assert sum(len(document.links) for document in documents.values()) > 1000


def test_linked_repository_files_are_published(site: Path) -> None:
    page = (site / "repository/deploy/nginx.conf/index.html").read_text()
    folder = Document(site / "repository/deploy/index.html")

    assert "worker_processes" in page
    assert {"nginx.conf/", "systemd/", "compose.yaml/"} <= set(folder.links)


def test_untracked_files_are_not_published(site: Path) -> None:
    """They may hold secrets, such as deploy/production.env or web.client."""
    folder = Document(site / "repository/deploy/systemd/index.html")

    assert "course.service/" in folder.links
    assert "auth.service/" not in folder.links
    assert [path for name in UNTRACKED for path in site.rglob(Path(name).name)] == []


def test_markdown_is_rendered(documents: dict[Path, Document]) -> None:
    unrendered = re.compile(r"^\s*(```|\||(- |\d+\. )\S|#+ )|\]\(|\*\*", re.MULTILINE)
    found = {
        str(path): paragraph
        for path, document in documents.items()
        if "repository" not in path.parts
        for paragraph in document.paragraphs
        if unrendered.search(paragraph)
    }

    assert found == {}


def test_site_loads_nothing_from_other_hosts(site: Path, documents: dict[Path, Document]) -> None:
    loaded = {url for document in documents.values() for url in document.loads}
    code = "".join(document.code for document in documents.values())
    files = [path for path in site.rglob("*.*") if path.suffix in {".css", ".js", ".svg"} and path.is_file()]

    assert len(loaded) > 10
    assert {path.suffix for path in files} == {".css", ".js", ".svg"}
    assert [url for url in loaded if re.match(r"\w+:|//", url)] == []
    named = find_urls(code).union(*(find_urls(path.read_text()) for path in files if path.suffix != ".svg"))
    assert [url for url in named if not url.startswith(tuple(UNUSED))] == []
    assert [path for path in files if re.search(r"""(href|src)=["']?(https?:)?//""", path.read_text())] == []
    pages = "".join(path.read_text() for path in documents)
    assert [needed for needed in UNUSED.values() if needed and needed in pages] == []


def test_site_and_search_work_in_a_browser_without_other_hosts(address: str) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for path in ("", "reference/settings/", "explanation/performance/", "repository/deploy/nginx.conf/"):
            page.goto(f"{address}/{path}")
        page.locator("input[name=query]").click()
        page.keyboard.type("REFRESH_TOKEN_GRACE")
        found = page.locator(".md-search-result__link")
        found.first.wait_for()
        targets = [str(link.get_attribute("href")) for link in found.all()]
        page.goto(f"{address}/?q=refresh+token+reuse")
        found.first.wait_for()
        first = str(found.first.get_attribute("href"))
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()

    assert len(asked) > 10
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    assert complaints == []
    assert [target for target in targets if "/reference/settings/" in target]
    assert "/reference/settings/" not in first, "a page about it comes first, not a list of settings"
    assert background == "rgb(18, 21, 28)", "dark if the system is"


def test_source_code_is_not_in_the_search_index(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    locations = {entry["location"].partition("#")[0] for entry in index["docs"]}

    assert {location for location in locations if location.startswith("repository/")} == {
        "repository/CHANGELOG/",
        "repository/CONTRIBUTING/",
        "repository/SECURITY/",
    }


BROKEN = {
    "page": "[gone](gone.md)",
    "anchor": "[gone](index.md#gone)",
    "file of the repository": "[gone](../deploy/gone.conf)",
    "image": "![gone](images/gone.png)",
    "untracked file": "[untracked](../deploy/compose.yaml)",
}


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    """All kinds at once, because a build takes seconds."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Home\n\n[good](../deploy/nginx.conf)\n")
    # The name of a tracked page, from which links lead to files of the repository.
    (tmp_path / "docs/get-started.md").write_text("\n\n".join(["# Broken", *BROKEN.values()]))
    hook = ROOT / "docs/generate/site.py"
    config = {"INHERIT": f"{ROOT}/mkdocs.yml", "docs_dir": "docs", "hooks": [str(hook)]}
    (tmp_path / "mkdocs.yml").write_text(json.dumps(config | {"nav": ["index.md", "get-started.md"]}))

    configured = ("--config-file", str(tmp_path / "mkdocs.yml"))
    failed = build(tmp_path / "site", *configured, untracked=["deploy/compose.yaml"])

    assert failed.returncode == 1
    warnings = [line for line in failed.stderr.splitlines() if "WARNING -  Doc file 'get-started.md'" in line]
    assert len(warnings) == len(BROKEN), failed.stderr
    assert "nginx.conf" not in failed.stderr


LISTS = {
    "content is indented by four": ("1. a\n   b\n\n   c\n", "1. a\n    b\n\n    c\n"),
    "code in an item": (
        "- a\n  ```sh\n  b\n    c\n\n  ```\n- d",
        "- a\n    ```sh\n    b\n      c\n\n    ```\n- d",
    ),
    "nested": ("- a\n  - b\n    - c\n- d", "- a\n    - b\n        - c\n- d"),
    "list after text": ("a:\n- b\n- c\n\nd", "a:\n\n- b\n- c\n\nd"),
    "number in text": ("made in\n2026. Then", "made in\n2026. Then"),
    "code is left alone": ("```\n- a\n  - b\n```", "```\n- a\n  - b\n```"),
    "text after a list": ("- a\n\nb\n  c", "- a\n\nb\n  c"),
}


@pytest.mark.parametrize(("written", "adapted"), LISTS.values(), ids=LISTS)
def test_lists_are_adapted_for_mkdocs(written: str, adapted: str) -> None:
    assert adapt_lists(written) == adapted
