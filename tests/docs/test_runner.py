"""The runner of documented pages reports a wrong page, and cleans up after a good one."""

from pathlib import Path

import pytest

from tests.docs.pages import Page
from tests.docs.runner import run_page
from tests.servers import is_listening

TRUE = """
```html title="site/index.html"
http://127.0.0.1:8083
```

```sh title="In another terminal"
cd site
exec python3 -m http.server --bind 127.0.0.1 8083
```

```sh
NAME=value
cd site
touch left
false || test -e index.html
```

```sh
test "$PWD" = "$(git rev-parse --show-toplevel)/site" && ls left
echo "$NAME"
curl -s http://127.0.0.1:8083/
```

```text
left
va...e
http://127.0.0.1:8083
```

```sh
cat absent
```

```text
cat: absent: ...
```

```sh
echo run
```

```sh
curl -i http://127.0.0.1:8083/         # 200, a page
curl -i http://127.0.0.1:8083/absent   # 404
```
"""

WRONG = {
    "failure": (
        "echo run\n",
        "echo shown; false; true\n",
        "page.md:38\n",
        "it failed, and printed:\nshown\n",
    ),
    "unset variable": ("echo run\n", "echo $ABSENT\n", "page.md:38\n", "ABSENT: unbound variable"),
    "other output": ("va...e", "other", "page.md:18\n", "it prints:\nleft\nvalue\n"),
    "success": ("cat absent\n", "cat left\n", "page.md:30\n", "It should have failed, but succeeded."),
    "other status": ("# 404", "# 403", "page.md:42\n", "the statuses are ['200', '404']"),
    "server that ends": ("exec python3", "exec absent", "page.md:6\n", "the server has ended:"),
}


def write_page(folder: Path, text: str) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return Page(str(path), fails=("cat ",))


def test_correct_page_passes_and_leaves_no_server_running(tmp_path: Path) -> None:
    run_page(write_page(tmp_path, TRUE), tmp_path)

    (port,) = (tmp_path / "repository/site/index.html").read_text().strip().split(":")[2:]
    assert port != "8083"
    assert not is_listening(int(port))


@pytest.mark.parametrize(("old", "new", "place", "report"), WRONG.values(), ids=WRONG)
def test_wrong_page_fails_at_its_line(old: str, new: str, place: str, report: str, tmp_path: Path) -> None:
    assert old in TRUE
    page = write_page(tmp_path, TRUE.replace(old, new))

    with pytest.raises(pytest.fail.Exception) as failure:
        run_page(page, tmp_path)

    assert place in str(failure.value)
    assert report in str(failure.value)
