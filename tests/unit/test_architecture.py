"""The rules of the house: which module may import which, and which may sign."""

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

# What signs, and what makes or loads a private key; and the only modules that may name it.
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


# Calls in auth_app run from endpoints, pages and commands to accounts and keys, never back.
CALLERS = ("auth_app.oauth", "auth_app.pages", "auth_app.cli", "auth_app.users_api")
CALLED = [path for path in FILES if path.parts[:2] in {("auth_app", "accounts"), ("auth_app", "keys")}]


@pytest.mark.parametrize("path", CALLED, ids=str)
def test_accounts_and_keys_call_nobody_above_them(path: Path) -> None:
    assert not {module for module in modules_imported(path) if module.startswith(CALLERS)}


# The layers of the kit from low to high, by how their modules' names begin, and what else each may import.
LAYERS = {
    "flask_resource_server.exceptions": set(),
    "flask_resource_server.documents": set(),
    "flask_resource_server.tokens": {"cryptography"},
    "flask_resource_server": {"blinker", "click", "cryptography", "flask", "flask_jwt_extended", "werkzeug"},
    "flask_resource_server.pytest_plugin": {"flask", "pytest"},
}


def layer_of(module: str) -> int:
    """Return the number of the layer that a module is in: the longest name that its own begins with."""
    return max(
        (len(layer), number) for number, layer in enumerate(LAYERS) if f"{module}.".startswith(f"{layer}.")
    )[1]


KIT = [path for path in FILES if path.parts[0] == "flask_resource_server"]


@pytest.mark.parametrize("path", KIT, ids=str)
def test_layers_of_the_kit_import_one_way(path: Path) -> None:
    layer = layer_of(".".join(path.with_suffix("").parts))
    others = imports(path) - set(sys.stdlib_module_names) - {"flask_resource_server"}
    own = {module for module in modules_imported(path) if module.startswith("flask_resource_server")}

    assert others <= list(LAYERS.values())[layer]
    if path.name != "__init__.py":
        assert not {module for module in own if layer_of(module) > layer}


def test_names_are_imported_from_where_they_are_defined() -> None:
    """Only `__init__.py` imports a name for others, which mypy wants written as `name as name`."""
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


def test_nothing_imports_what_makes_tokens_for_tests() -> None:
    testing = {"flask_resource_server.testing", "flask_resource_server.pytest_plugin"}
    importers = {str(path) for path in FILES if modules_imported(path) & testing}

    assert importers == {"flask_resource_server/pytest_plugin.py"}


def test_verifying_imports_no_framework() -> None:
    code = (
        "import sys, flask_resource_server.tokens\n"
        "sys.exit(str({'flask', 'werkzeug', 'flask_jwt_extended', 'jwt', 'click'} & set(sys.modules) or ''))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert process.stderr.strip() == ""


def test_every_public_name_of_the_kit_is_there() -> None:
    for name in flask_resource_server.__all__:
        assert getattr(flask_resource_server, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = flask_resource_server.nothing


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


# What may end the process: a command, and what the entry points call.
EXITS = {"flask_resource_server/explain_token.py", "shared/startup.py"}


def test_only_commands_and_entry_points_exit() -> None:
    exiting = {str(path) for path in FILES if names(path) & {"sys.exit", "SystemExit", "os._exit", "exit"}}

    assert {path for path in exiting if not path.startswith("auth_app/cli/")} == EXITS


def test_no_file_is_long() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in FILES}

    assert {path: length for path, length in lengths.items() if length > 260} == {}


def test_importing_registers_nothing() -> None:
    """Neither metrics nor handlers of signals, of logs, or of the end of the process."""
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


def test_only_settings_read_the_environment() -> None:
    for path in FILES:
        if path.name != "settings.py":
            assert not names(path) & {"os.environ", "os.getenv", "dotenv_values", "BaseSettings"}, path


@pytest.mark.parametrize("application", ["wsgi_auth", "wsgi_course"])
def test_entry_point_makes_the_application_and_nothing_more(application: str) -> None:
    package = application.replace("wsgi_", "") + "_app"
    body = ast.parse((ROOT / f"{application}.py").read_text()).body[1:]

    assert [ast.unparse(node) for node in body] == [
        "import gc",
        "gc.disable()",
        f"from {package} import create_app",
        "gc.freeze()",
        "gc.enable()",
        "app = create_app()",
    ]


def test_importing_does_nothing() -> None:
    """No file is opened for writing, no connection and no thread is made by an import."""
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
