"""The rules of the house: who may import whom, and who may sign."""

import ast
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for package in ("flask_resource_server", "shared", "auth_app", "course_app")
    for path in (ROOT / package).rglob("*.py")
)

FORBIDDEN_IMPORTS = {
    "flask_resource_server": {"auth_app", "course_app"},
    "shared": {"auth_app", "course_app"},
    "auth_app": {"course_app"},
    "course_app": {"auth_app"},
}

# What signs, and what makes or loads a private key; and the only modules that may name it.
SIGNING_NAMES = {
    "create_access_token": set(),
    "create_refresh_token": set(),
    "from_jwk": set(),
    "generate_private_key": {"auth_app/key_life.py"},
    "jwt.encode": {"auth_app/access_tokens.py"},
    "load_der_private_key": set(),
    "load_pem_private_key": {"auth_app/signing_key.py"},
    "load_ssh_private_key": set(),
    "prepare_key": set(),
    "RSAPrivateNumbers": set(),
    "sign": set(),
    "sign_jwt": {"auth_app/access_tokens.py", "auth_app/status_lists.py"},
}


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(str(node.module).partition(".")[0])
    return found


def names(path: Path) -> set[str]:
    """Return what a file calls by name, `encode` of the JWT library as `jwt.encode`."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found |= {node.attr, f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else ""}
        elif isinstance(node, ast.ImportFrom) and node.module:
            top = node.module.partition(".")[0]
            found |= {name for alias in node.names for name in (alias.name, f"{top}.{alias.name}")}
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_one_way(path: Path) -> None:
    assert not imports(path) & FORBIDDEN_IMPORTS[path.parts[0]]


def test_only_one_module_of_shared_knows_databases() -> None:
    databases = {"sqlalchemy", "flask_sqlalchemy", "flask_migrate", "alembic", "sqlite3"}
    found = {str(path) for path in FILES if path.parts[0] == "shared" and imports(path) & databases}

    assert found == {"shared/database.py"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_named_modules_sign_or_hold_a_private_key(path: Path) -> None:
    signing = {name for name, modules in SIGNING_NAMES.items() if str(path) not in modules}

    assert not names(path) & signing


def test_exceptions_to_the_signing_rule_are_in_use() -> None:
    for name, modules in SIGNING_NAMES.items():
        for module in modules:
            assert name in names(Path(module))


def test_shared_has_no_word_of_a_domain() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        code = path.read_text().lower()
        assert not [word for word in ("course", "student", "teacher", "enrol", "password") if word in code], (
            path
        )


def test_only_settings_read_the_environment() -> None:
    for path in FILES:
        if path.name != "settings.py":
            assert not names(path) & {"os.environ", "os.getenv", "dotenv_values", "BaseSettings"}, path


@pytest.mark.parametrize("application", ["wsgi_auth", "wsgi_course"])
def test_entry_point_makes_the_application_and_nothing_more(application: str) -> None:
    package = application.replace("wsgi_", "") + "_app"
    body = ast.parse((ROOT / f"{application}.py").read_text()).body[1:]

    assert [ast.unparse(node) for node in body] == [f"from {package} import create_app", "app = create_app()"]


def test_importing_does_nothing() -> None:
    """No file is opened for writing, no connection and no thread is made by an import."""
    import subprocess

    code = (
        "import sys, threading\n"
        "def audit(event, arguments):\n"
        "    if event in {'socket.connect', 'sqlite3.connect'}: raise SystemExit(event)\n"
        "    if event == 'open' and 'pem' in str(arguments[0]): raise SystemExit(str(arguments))\n"
        "sys.addaudithook(audit)\n"
        "import auth_app, course_app, flask_resource_server, shared.service\n"
        "sys.exit(threading.active_count() - 1)\n"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
