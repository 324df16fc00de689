"""The container images contain only what they should; built with buildah, which needs no daemon."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.servers import ROOT

BASE = os.environ.get("TEST_IMAGE_BASE")
pytestmark = pytest.mark.skipif(
    not (BASE and shutil.which("buildah")),
    reason="needs buildah, and TEST_IMAGE_BASE, a local image with python3 and its venv module",
)


def buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, str]]:
    """A working container of each image."""
    made = {}
    for target in ("auth", "course"):
        tag = f"localhost/test-{target}"
        buildah(
            *("bud", "--isolation=chroot", "--network=host", "--build-arg", f"BASE={BASE}"),
            *("--target", target, "--tag", tag, "-f", str(ROOT / "deploy/Dockerfile"), str(ROOT)),
        )
        made[target] = buildah("from", tag)
    yield made
    for container in made.values():
        buildah("rm", container)


def run(container: str, *command: str) -> str:
    return buildah("run", "--isolation=chroot", container, "--", *command)


def test_course_app_image_contains_no_signing_code(containers: dict[str, str]) -> None:
    assert run(containers["course"], "ls", "/app").split() == [
        "course_app",
        "flask_resource_server",
        "gunicorn.conf.py",
        "keys",
        "shared",
        "wsgi_course.py",
    ]
    kit = run(containers["course"], "ls", "/app/flask_resource_server").split()
    assert "extension.py" in kit
    assert "testing.py" not in kit
    look = "import importlib.util as u; print(u.find_spec('auth_app'))"
    assert run(containers["course"], "python", "-c", look) == "None"


@pytest.mark.parametrize("target", ["auth", "course"])
def test_image_contains_no_key_or_database(target: str, containers: dict[str, str]) -> None:
    found = run(containers[target], "find", "/app", "/data", "-name", "*.pem", "-o", "-name", "*.db")

    assert found == ""


@pytest.mark.parametrize("target", ["auth", "course"])
def test_image_runs_as_a_user_who_cannot_change_the_code(target: str, containers: dict[str, str]) -> None:
    container = containers[target]
    who = "import os; print(os.getuid(), os.access('/app', os.W_OK), os.access('/app/shared', os.W_OK))"

    assert run(container, "python", "-c", who) == "10001 False False"


def test_service_in_the_image_refuses_to_start_without_a_key(containers: dict[str, str]) -> None:
    ask = "gunicorn --check-config wsgi_course:app 2>&1 || true"

    assert "course_app cannot start: keys/public_key.pem cannot be read" in run(
        containers["course"], "sh", "-c", ask
    )


def test_auth_app_image_can_generate_a_key(containers: dict[str, str]) -> None:
    script = "flask --app wsgi_auth keys generate && stat -c '%a %u' keys/private_key.pem && rm keys/*.pem"

    assert "600 10001" in run(containers["auth"], "sh", "-c", script)
