"""Architecture rules: which modules may import each other, and which may sign."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flask_resource_server
from tests.servers import ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for package in ("flask_resource_server", "shared", "auth_app", "course_app")
    for path in (ROOT / package).rglob("*.py")
)

FORBIDDEN_IMPORTS = {
    "flask_resource_server": {"auth_app", "course_app", "shared"},
    "shared": {"auth_app", "course_app"},
    "auth_app": {"course_app"},
    "course_app": {"auth_app"},
}

# Names that sign, or that create or load a private key, with the only modules that may use them.
SIGNING_NAMES = {
    "create_access_token": set(),
    "create_refresh_token": set(),
    "from_jwk": set(),
    "generate_private_key": {"auth_app/keys/rotation.py", "flask_resource_server/testing.py"},
    "jwt.encode": {"auth_app/keys/signing.py"},
    "load_der_private_key": set(),
    "load_pem_private_key": {"auth_app/keys/signing_key.py"},
    "load_ssh_private_key": set(),
    "prepare_key": set(),
    "RSAPrivateNumbers": set(),
    "sign": {"flask_resource_server/testing.py"},
    "sign_jwt": {
        "auth_app/oauth/access_tokens.py",
        "auth_app/oauth/backchannel_logout.py",
        "auth_app/oauth/id_tokens.py",
        "auth_app/oauth/status_lists.py",
    },
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


def modules_imported(path: Path) -> set[str]:
    tree = ast.walk(ast.parse((ROOT / path).read_text()))
    return {str(node.module) for node in tree if isinstance(node, ast.ImportFrom)}


def names(path: Path) -> set[str]:
    """Return the names that a file uses; `encode` of the JWT library is also listed as `jwt.encode`."""
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
def test_packages_import_each_other_in_one_direction(path: Path) -> None:
    assert not imports(path) & FORBIDDEN_IMPORTS[path.parts[0]]


# In auth_app, endpoints, pages and commands call accounts and keys, never the other way round.
CALLERS = ("auth_app.oauth", "auth_app.pages", "auth_app.cli", "auth_app.users_api")
CALLED = [path for path in FILES if path.parts[:2] in {("auth_app", "accounts"), ("auth_app", "keys")}]


@pytest.mark.parametrize("path", CALLED, ids=str)
def test_accounts_and_keys_import_nothing_above_them(path: Path) -> None:
    assert not {module for module in modules_imported(path) if module.startswith(CALLERS)}


# The kit's layers from low to high: the prefix of the module names, and the other packages each may import.
LAYERS = {
    "flask_resource_server.exceptions": set(),
    "flask_resource_server.documents": set(),
    "flask_resource_server.tokens": {"cryptography"},
    "flask_resource_server": {"blinker", "click", "cryptography", "flask", "flask_jwt_extended", "werkzeug"},
    "flask_resource_server.pytest_plugin": {"flask", "pytest"},
}


def layer_of(module: str) -> int:
    """Return the number of a module's layer: the one whose name is its longest prefix."""
    return max(
        (len(layer), number) for number, layer in enumerate(LAYERS) if f"{module}.".startswith(f"{layer}.")
    )[1]


KIT = [path for path in FILES if path.parts[0] == "flask_resource_server"]


@pytest.mark.parametrize("path", KIT, ids=str)
def test_kit_layers_import_in_one_direction(path: Path) -> None:
    layer = layer_of(".".join(path.with_suffix("").parts))
    others = imports(path) - set(sys.stdlib_module_names) - {"flask_resource_server"}
    own = {module for module in modules_imported(path) if module.startswith("flask_resource_server")}

    assert others <= list(LAYERS.values())[layer]
    if path.name != "__init__.py":
        assert not {module for module in own if layer_of(module) > layer}


def test_names_are_imported_from_where_they_are_defined() -> None:
    """Only `__init__.py` re-exports names, for which mypy requires `name as name`."""
    reexports = {
        str(path): alias.name
        for path in FILES
        if path.name != "__init__.py"
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }

    assert reexports == {}


def test_only_the_pytest_plugin_imports_the_testing_module() -> None:
    testing = {"flask_resource_server.testing", "flask_resource_server.pytest_plugin"}
    importers = {str(path) for path in FILES if modules_imported(path) & testing}

    assert importers == {"flask_resource_server/pytest_plugin.py"}


def test_token_verification_imports_no_framework() -> None:
    code = (
        "import sys, flask_resource_server.tokens\n"
        "sys.exit(str({'flask', 'werkzeug', 'flask_jwt_extended', 'jwt', 'click'} & set(sys.modules) or ''))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert process.stderr.strip() == ""


def test_every_public_name_of_the_kit_exists_with_a_docstring() -> None:
    for name in flask_resource_server.__all__:
        assert getattr(flask_resource_server, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = flask_resource_server.nothing


def test_only_one_shared_module_imports_database_packages() -> None:
    databases = {"sqlalchemy", "flask_sqlalchemy", "flask_migrate", "alembic", "sqlite3"}
    found = {str(path) for path in FILES if path.parts[0] == "shared" and imports(path) & databases}

    assert found == {"shared/database.py"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_listed_modules_sign_or_load_a_private_key(path: Path) -> None:
    signing = {name for name, modules in SIGNING_NAMES.items() if str(path) not in modules}

    assert not names(path) & signing


def test_every_exception_to_the_signing_rule_is_needed() -> None:
    for name, modules in SIGNING_NAMES.items():
        for module in modules:
            assert name in names(Path(module))


def test_shared_code_contains_no_domain_words() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        code = path.read_text().lower()
        assert not [word for word in ("course", "student", "teacher", "enrol", "password") if word in code], (
            path
        )


# What may exit the process besides auth_app/cli: another command, and a function that entry points call.
EXITS = {"flask_resource_server/explain_token.py", "shared/startup.py"}


def test_only_commands_and_entry_points_exit() -> None:
    exiting = {str(path) for path in FILES if names(path) & {"sys.exit", "SystemExit", "os._exit", "exit"}}

    assert {path for path in exiting if not path.startswith("auth_app/cli/")} == EXITS


def test_no_file_exceeds_260_lines() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in FILES}

    assert {path: length for path, length in lengths.items() if length > 260} == {}


def test_importing_the_kit_registers_nothing() -> None:
    """No metrics, log handlers, threads, atexit callbacks or receivers of Flask signals are added."""
    code = (
        "import atexit, logging, sys, threading\n"
        "from prometheus_client import REGISTRY\n"
        "from flask import signals\n"
        "def state():\n"
        "    receivers = [len(s.receivers) for s in vars(signals).values() if hasattr(s, 'receivers')]\n"
        "    root = logging.getLogger()\n"
        "    return [len(root.handlers), threading.active_count(), atexit._ncallbacks(), receivers]\n"
        "before, collectors = state(), set(REGISTRY._collector_to_names)\n"
        "import flask_resource_server\n"
        "[getattr(flask_resource_server, name) for name in flask_resource_server.__all__]\n"
        "import flask_resource_server.testing\n"
        "assert state() == before, (before, state())\n"
        "assert set(REGISTRY._collector_to_names) == collectors\n"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_only_settings_modules_read_the_environment() -> None:
    for path in FILES:
        if path.name != "settings.py":
            assert not names(path) & {"os.environ", "os.getenv", "dotenv_values", "BaseSettings"}, path


@pytest.mark.parametrize("application", ["wsgi_auth", "wsgi_course"])
def test_entry_point_only_creates_the_application(application: str) -> None:
    package = application.replace("wsgi_", "") + "_app"
    body = ast.parse((ROOT / f"{application}.py").read_text()).body[1:]

    assert [ast.unparse(node) for node in body] == [f"from {package} import create_app", "app = create_app()"]


def test_importing_opens_no_key_file_or_connection_and_starts_no_thread() -> None:
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
