"""The READMEs of the examples are short, and the files they name exist."""

import json
import re
import shlex

import pytest

from tests.examples.programs import EXAMPLES
from tests.servers import ROOT

NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
every_example = pytest.mark.parametrize("name", NAMES)


def test_table_lists_every_example() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)

    assert sorted(rows) == [(name, name) for name in NAMES]


@every_example
def test_readme_is_short(name: str) -> None:
    lines = (EXAMPLES / name / "README.md").read_text().splitlines()

    assert len(lines) <= 32
    assert max(map(len, lines)) <= 120


@every_example
def test_every_requirement_has_a_lower_bound(name: str) -> None:
    folder = EXAMPLES / name
    if (folder / "package.json").exists():
        versions = json.loads((folder / "package.json").read_text())["dependencies"].values()
        assert all(version.startswith("^") for version in versions)
        return
    installed = dict(
        re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    )
    for line in (folder / "requirements.txt").read_text().splitlines():
        package, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:  #.*)?", line).groups()  # type: ignore[union-attr]
        assert package == "flask-resource-server" or _version(installed[package]) >= _version(bound)


def _version(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


@every_example
def test_readme_commands_use_existing_files(name: str) -> None:
    """Its commands start the programs in its own folder in the same way as the other tests."""
    text = (EXAMPLES / name / "README.md").read_text()
    words = shlex.split(" ".join(re.findall(r"```sh[^\n]*\n(.*?)```", text, re.DOTALL)), comments=False)
    modules = [
        f"{match[1]}.py" for word in words if (match := re.fullmatch(r"(\w+):(?:app|create_app\(\))", word))
    ]
    files = [
        word.removeprefix("$PWD/") for word in words if re.fullmatch(r"(\$PWD/)?[\w.-]+\.(py|js|conf)", word)
    ]

    files += ["index.html"] if "http.server" in words and name == "spa" else []
    assert modules + files
    assert all((EXAMPLES / name / file).exists() for file in modules + files), modules + files


def test_each_application_has_its_own_session_cookie() -> None:
    """Browsers send cookies to every port of a host, so one default name would mix up two applications."""
    pages = {
        name: (ROOT / f"docs/how-to/{name}.md").read_text() for name in ("sign-in", "log-out-everywhere")
    }
    programs = {
        "web_app": (EXAMPLES / "web_app/app.py").read_text(),
        "web": pages["sign-in"].partition('```python title="web.py"')[2].partition("```")[0],
        "shop": pages["log-out-everywhere"].partition('```python title="shop.py"')[2].partition("```")[0],
    }
    names = [
        re.findall(r'^app\.config\["SESSION_COOKIE_NAME"\] = "(\w+)"', code, re.MULTILINE)
        for code in programs.values()
    ]

    assert [len(found) for found in names] == [1, 1, 1]
    assert len({name for (name,) in names} - {"session"}) == 3
