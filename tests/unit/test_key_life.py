"""The lifecycle of a signing key (next, active, retiring, gone), including failures in between."""

import json
import os
import re
import shutil
import signal
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import Result
from flask.testing import FlaskClient
from pydantic import SecretStr

import auth_app
from auth_app.settings import AuthSettings
from flask_resource_server.documents.files import POLL_INTERVAL
from shared.startup import check_startup
from tests.conftest import KeyPair, add_client, bearer, get_token, log_in, open_auth, open_course, run_command

pytestmark = pytest.mark.slow

RECORD = Path("instance/revoked_keys")  # the default, and each test has a folder of its own
STRANGER = "-" + 42 * "A"  # the ID of a key that is in no file


@pytest.fixture
def pair(key_pair: KeyPair, tmp_path: Path) -> KeyPair:
    """A key pair for one test."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for path in (key_pair.private_file, key_pair.public_file):
        shutil.copy(path, keys)
    return KeyPair(keys / "private_key.pem", keys / "public_key.pem")


@pytest.fixture
def auth(pair: KeyPair, new_database: Callable[[], str]) -> Iterator[FlaskClient]:
    with open_auth(new_database(), pair, jwks_max_age=100, access_token_lifetime=900) as client:
        yield client


@pytest.fixture
def course(pair: KeyPair, tmp_path: Path) -> Iterator[FlaskClient]:
    with open_course(f"sqlite:///{tmp_path}/course.db", pair) as client:
        yield client


def keys(client: FlaskClient, *arguments: str) -> Result:
    return run_command(client, "keys", *arguments)


def states(client: FlaskClient) -> dict[str, str]:
    return {key["kid"]: key["state"] for key in json.loads(keys(client, "list", "--json").stdout)}


def published(client: FlaskClient) -> set[str]:
    answer: Any = client.get("/.well-known/jwks.json").json
    return {key["kid"] for key in answer["keys"]}


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def let_time_pass(pair: KeyPair, seconds: int) -> None:
    """Move every time in the public key's file into the past, as if that many seconds had gone by."""

    def move(match: re.Match[str]) -> str:
        then = time.strptime(match[0], "%Y-%m-%dT%H:%M:%SZ")
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(calendar_seconds(then) - seconds))

    text = pair.public_file.read_text()
    pair.public_file.write_text(re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", move, text))
    time.sleep(POLL_INTERVAL)  # course_app may have looked at the file just before


def calendar_seconds(moment: time.struct_time) -> int:
    import calendar

    return calendar.timegm(moment)


def test_key_goes_from_next_to_active_to_retiring_to_gone(
    auth: FlaskClient, course: FlaskClient, pair: KeyPair
) -> None:
    old = pair.kid
    old_token = get_token(auth)
    assert states(auth) == {old: "active"}

    assert "published" in keys(auth, "rotate").output
    (new,) = set(states(auth)) - {old}
    assert states(auth) == {old: "active", new: "next"}
    assert published(auth) == {old, new}
    assert kid_of(get_token(auth)) == old, "a key that verifiers may not know yet does not sign"

    let_time_pass(pair, 104)
    assert "signs now" in keys(auth, "rotate").output
    assert states(auth) == {old: "retiring", new: "active"}
    assert pair.kid == new
    new_token = get_token(auth)
    assert kid_of(new_token) == new
    assert accepts(auth, course, old_token)
    assert accepts(auth, course, new_token)

    let_time_pass(pair, 900 + 10)
    assert accepts(auth, course, old_token), "it may have been issued in the last second, and clocks differ"
    let_time_pass(pair, 4)
    assert states(auth) == {new: "active"}
    assert published(auth) == {new}
    assert refuses(auth, course, old_token)
    assert accepts(auth, course, new_token)

    assert keys(auth, "rotate").exit_code == 0
    assert old not in pair.public_file.read_text()
    assert pair.public_file.read_text().count("BEGIN") == 2, "a key that is gone is no longer written"


def accepts(auth: FlaskClient, course: FlaskClient, token: str) -> bool:
    answers = [auth.get("/users/me", headers=bearer(token)), course.get("/courses", headers=bearer(token))]
    return [answer.status_code for answer in answers] == [200, 200]


def refuses(auth: FlaskClient, course: FlaskClient, token: str) -> bool:
    answers = [auth.get("/users/me", headers=bearer(token)), course.get("/courses", headers=bearer(token))]
    return [answer.status_code for answer in answers] == [401, 401]


def test_second_rotation_step_run_too_early_says_when_it_is_due(auth: FlaskClient, pair: KeyPair) -> None:
    keys(auth, "rotate")
    before = states(auth)
    let_time_pass(pair, 101)

    early = keys(auth, "rotate")

    assert early.exit_code == 1
    assert re.search(r"knows the next key yet: run this again after 2\d{3}-.*Z\n", early.output)
    assert states(auth) == before


def test_list_shows_states_and_dates(auth: FlaskClient, pair: KeyPair) -> None:
    started = int(time.time())
    assert re.search(rf"{pair.kid} +active +- +-\n", keys(auth, "list").output), "its date is unknown"
    keys(auth, "rotate")
    let_time_pass(pair, 104)
    keys(auth, "rotate")

    old, new = json.loads(keys(auth, "list", "--json").stdout)

    assert (old["state"], old["since_at"]) == ("retiring", None)
    assert 913 <= old["until_at"] - started <= 930
    assert (new["state"], new["until_at"]) == ("active", None)
    assert 0 <= new["since_at"] - started <= 15


@pytest.mark.parametrize("state", ["next", "active", "active, with a next one", "retiring"])
def test_revoked_key_and_its_tokens_are_refused_at_once(
    state: str, auth: FlaskClient, course: FlaskClient, pair: KeyPair
) -> None:
    login = log_in(auth)
    tokens = [login["access_token"]]
    if state != "active":
        keys(auth, "rotate")
    if state == "retiring":
        let_time_pass(pair, 104)
        keys(auth, "rotate")
        tokens.append(get_token(auth))
    kid = next(kid for kid, its_state in states(auth).items() if its_state == state.partition(",")[0])

    revoked = keys(auth, "revoke", kid)

    assert (revoked.exit_code, revoked.stdout.partition("\n")[0]) == (0, f"revoked {kid}")
    assert kid not in published(auth) | set(states(auth))
    assert list(states(auth).values()).count("active") == 1
    assert not pair.private_file.with_suffix(".next.pem").exists()
    form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    refreshed = auth.post("/token", data=form).json
    assert refreshed
    for token in [*tokens, refreshed["access_token"]]:
        assert (refuses if kid_of(token) == kid else accepts)(auth, course, token)


@pytest.mark.parametrize(
    "kid",
    [STRANGER[:-1], STRANGER + "A", "=" + STRANGER[1:], STRANGER[:-1] + "B", "-abc", ""],
    ids=["short", "long", "another alphabet", "more than 32 bytes", "an option", "empty"],
)
def test_revoke_refuses_an_invalid_key_id(kid: str, auth: FlaskClient) -> None:
    refused = keys(auth, "revoke", kid)

    assert refused.exit_code == 1
    assert refused.stderr.endswith("is not a key ID: give the 43 characters that `keys list` shows\n")
    assert not RECORD.exists()


def test_key_that_is_in_no_file_can_be_revoked_in_advance(auth: FlaskClient, pair: KeyPair) -> None:
    """For example, a revocation is entered again on a new machine. A key ID may begin with a dash."""
    revoked = keys(auth, "revoke", STRANGER)

    assert (revoked.exit_code, revoked.stderr) == (0, "")
    assert revoked.stdout.startswith(f"revoked {STRANGER}\nauth_app refuses it now, and services refuse it ")
    assert revoked.stdout.endswith(
        "no key file holds it; it stays refused if it reappears, for example from a backup\n"
    )
    assert states(auth) == {pair.kid: "active"}
    assert auth.get("/readyz").json == {"status": "ok"}


def test_key_can_be_revoked_without_key_files(auth: FlaskClient, pair: KeyPair) -> None:
    kid = pair.kid
    shutil.rmtree(pair.private_file.parent)

    assert keys(auth, "revoke", kid).exit_code == 0

    assert RECORD.read_text().startswith(f"{kid} 2")


def test_revoke_that_cannot_be_recorded_says_why_and_keeps_the_keys(auth: FlaskClient, pair: KeyPair) -> None:
    RECORD.parent.write_text("a file where a folder must be")
    before = pair.kid, pair.public_file.read_text()

    refused = keys(auth, "revoke", before[0])

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"so {before[0]} was not revoked: set REVOKED_KEYS_FILE to a file" in refused.stderr
    assert (pair.kid, pair.public_file.read_text()) == before


@pytest.fixture
def backup(pair: KeyPair, tmp_path: Path) -> Callable[[], None]:
    """Return a function that backs up the key files when first called, and restores them in later calls."""
    folder, copy = pair.private_file.parent, tmp_path / "backup"

    def copy_or_restore() -> None:
        if copy.exists():
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
        else:
            shutil.copytree(folder, copy)

    return copy_or_restore


RETIRED = [["rotate"], 104, ["rotate"]]


@pytest.mark.parametrize(
    ("preparation", "state"),
    [([], "active"), ([["rotate"]], "next"), ([["rotate"]], "active"), (RETIRED, "retiring")],
    ids=["active", "next", "active, with a next one", "retiring"],
)
def test_revoked_key_restored_from_a_backup_is_refused(
    preparation: list[Any],
    state: str,
    auth: FlaskClient,
    course: FlaskClient,
    pair: KeyPair,
    backup: Callable[[], None],
) -> None:
    old_token = get_token(auth)
    prepare(auth, pair, preparation)
    backup()
    kid = next(kid for kid, its_state in states(auth).items() if its_state == state)
    assert keys(auth, "revoke", kid).exit_code == 0
    token = get_token(auth)

    backup()

    assert kid not in published(auth)
    assert states(auth)[kid] == "revoked"
    if kid_of(old_token) == kid:
        assert auth.get("/users/me", headers=bearer(old_token)).status_code == 401
        assert not is_active(auth, old_token)
    signing = auth.post("/token", data={"username": "student1", "password": "password123"})
    assert signing.status_code == (200 if kid_of(token) in published(auth) else 503)
    rotated = keys(auth, "rotate")
    assert (rotated.exit_code, f"run `flask --app wsgi_auth keys revoke {kid}` first" in rotated.stderr) == (
        1,
        True,
    )

    assert keys(auth, "revoke", kid).exit_code == 0
    assert kid not in states(auth)
    assert auth.get("/readyz").json == {"status": "ok"}
    assert kid_of(get_token(auth)) != kid
    assert accepts(auth, course, get_token(auth))
    assert (refuses if kid_of(old_token) == kid else accepts)(auth, course, old_token)
    assert (accepts if kid_of(token) in published(auth) else refuses)(auth, course, token)
    assert restart(auth).get("/readyz").json == {"status": "ok"}


def is_active(auth: FlaskClient, token: str) -> bool:
    client = add_client(auth, "inspector")
    answer: Any = auth.post("/introspect", data={"token": token}, auth=client).json
    active: bool = answer["active"]
    return active


def prepare(auth: FlaskClient, pair: KeyPair, steps: list[Any]) -> None:
    for step in steps:
        let_time_pass(pair, step) if isinstance(step, int) else keys(auth, *step)


def restart(auth: FlaskClient) -> FlaskClient:
    app = auth_app.create_app(auth.application.extensions["settings"])
    check_startup(app)
    return app.test_client()


def test_issuer_does_not_start_with_a_revoked_key(
    auth: FlaskClient, pair: KeyPair, backup: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    kid = pair.kid
    backup()
    keys(auth, "revoke", kid)
    backup()

    with pytest.raises(SystemExit):
        restart(auth)

    assert re.fullmatch(
        rf"auth_app cannot start: {pair.private_file} holds the key {kid}, which was revoked at 2\d\d\d-.*Z: "
        rf"run `flask --app wsgi_auth keys revoke {kid}`, which replaces it with a new key\n",
        capsys.readouterr().err,
    )
    pair.private_file.unlink()
    pair.public_file.unlink()
    assert keys(auth, "generate").exit_code == 0
    assert kid_of(get_token(restart(auth))) != kid


def test_running_issuer_does_not_switch_to_a_revoked_key(
    auth: FlaskClient, pair: KeyPair, backup: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    kid = pair.kid
    backup()
    keys(auth, "revoke", kid)
    successor = kid_of(get_token(auth))
    with pair.public_file.open("a") as file:
        file.write((pair.private_file.parent.parent / "backup/public_key.pem").read_text())

    shutil.copy(pair.private_file.parent.parent / "backup/private_key.pem", pair.private_file)

    assert kid_of(get_token(auth)) == successor
    assert auth.get("/readyz").json == {"status": "degraded", "degraded": ["signing_key"]}
    assert f"{pair.private_file} holds the key {kid}, which was revoked at 2" in caplog.text


def test_generate_refuses_a_revoked_private_key(
    auth: FlaskClient, pair: KeyPair, backup: Callable[[], None]
) -> None:
    kid = pair.kid
    backup()
    keys(auth, "revoke", kid)
    backup()
    pair.public_file.unlink()

    refused = keys(auth, "generate")

    assert refused.exit_code == 1
    assert f"holds the revoked key {kid}: move the file away first" in refused.stderr


def test_list_shows_when_a_key_was_revoked(
    auth: FlaskClient, pair: KeyPair, backup: Callable[[], None]
) -> None:
    kid, started = pair.kid, int(time.time())
    backup()
    keys(auth, "revoke", kid)
    backup()

    (row,) = json.loads(keys(auth, "list", "--json").stdout)

    assert (row["kid"], row["state"], row["until_at"]) == (kid, "revoked", None)
    assert started <= row["since_at"] <= time.time()


@pytest.mark.parametrize("name", ["private_key.pem", "private_key.next.pem"])
def test_revoked_private_key_restored_without_its_public_key_is_replaced(
    name: str, auth: FlaskClient, pair: KeyPair, backup: Callable[[], None]
) -> None:
    """An incomplete backup may restore only this half, and a killed command may leave only this half."""
    kid = pair.kid
    backup()
    keys(auth, "revoke", kid)
    successor = pair.kid
    pair.private_file.with_name(name).write_bytes(
        (pair.private_file.parent.parent / "backup/private_key.pem").read_bytes()
    )
    pair.private_file.with_name(name).chmod(0o600)
    assert states(auth)[kid] == "revoked"
    assert keys(auth, "rotate").exit_code == 1

    assert keys(auth, "revoke", kid).exit_code == 0

    assert kid not in states(auth)
    assert (pair.kid == successor) == ("next" in name)
    assert kid_of(get_token(restart(auth))) == pair.kid != kid


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_keys_in_variables_cannot_be_listed_or_rotated(command: str, pair: KeyPair) -> None:
    app = auth_app.create_app(settings_with_variables(pair))

    refused = app.test_cli_runner().invoke(args=["keys", command])

    assert refused.exit_code == 1
    assert "replace the keys where the variables are set" in refused.output


def test_key_in_a_variable_is_revoked_and_must_be_replaced_there(
    pair: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    client = auth_app.create_app(settings_with_variables(pair)).test_client()
    assert published(client) == {pair.kid}

    revoked = client.application.test_cli_runner().invoke(args=["keys", "revoke", pair.kid])

    assert (revoked.exit_code, revoked.stderr) == (0, "")
    assert (
        "put a new key pair into JWT_PRIVATE_KEY and JWT_PUBLIC_KEY, and restart auth_app" in revoked.stdout
    )
    assert published(client) == set()
    with pytest.raises(SystemExit):
        restart(client)
    assert (
        f"cannot start: JWT_PRIVATE_KEY holds the key {pair.kid}, which was revoked at"
        in capsys.readouterr().err
    )


def settings_with_variables(pair: KeyPair) -> AuthSettings:
    settings = AuthSettings(jwt_private_key=SecretStr(pair.private_file.read_text()))
    return settings.model_copy(update={"jwt_public_key": pair.public_file.read_text()})


def test_rotation_keeps_the_owner_and_mode_of_the_files(auth: FlaskClient, pair: KeyPair) -> None:
    """For example, root owns the private key and a group may read it, as PostgreSQL allows too."""
    group = os.getgid() if os.geteuid() else 12345
    for path, mode in ((pair.private_file, 0o640 if group == 12345 else 0o600), (pair.public_file, 0o664)):
        os.chown(path, -1, group)
        path.chmod(mode)
    before = [describe(path) for path in (pair.private_file, pair.public_file)]
    old = pair.kid

    keys(auth, "rotate")
    let_time_pass(pair, 104)
    keys(auth, "rotate")

    assert pair.kid != old
    assert [describe(path) for path in (pair.private_file, pair.public_file)] == before


def describe(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("public_key.pem", lambda path: path.unlink()),
        ("public_key.pem", lambda path: path.write_text("")),
        (
            "public_key.pem",
            lambda path: path.write_text("# next since 2026-13-01T00:00:00Z\n" + path.read_text()),
        ),
        ("private_key.pem", lambda path: path.unlink()),
        ("private_key.pem", lambda path: path.chmod(0o644)),
        ("private_key.pem", lambda path: path.write_text("nonsense")),
    ],
    ids=["no public", "empty public", "bad date", "no private", "readable private", "damaged private"],
)
def test_damaged_key_files_leave_the_last_good_keys_in_use(
    name: str,
    damage: Callable[[Path], object],
    auth: FlaskClient,
    pair: KeyPair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = get_token(auth)
    path = pair.private_file.with_name(name)
    good = path.read_bytes()
    assert auth.get("/readyz").json == {"status": "ok"}

    damage(path)

    what = {"public_key.pem": "keys", "private_key.pem": "signing_key"}[name]
    assert auth.get("/readyz").json == {"status": "degraded", "degraded": [what]}
    assert f"{path}" in caplog.text
    assert kid_of(get_token(auth)) == kid_of(token)
    assert auth.get("/users/me", headers=bearer(token)).status_code == 200

    path.unlink(missing_ok=True)
    path.write_bytes(good)
    path.chmod(0o600)
    assert auth.get("/readyz").json == {"status": "ok"}
    assert "reloaded" in caplog.text


def test_unpublished_private_key_does_not_sign(
    auth: FlaskClient, pair: KeyPair, other_key_pair: KeyPair
) -> None:
    old = kid_of(get_token(auth))
    shutil.copy(other_key_pair.private_file, pair.private_file)

    assert kid_of(get_token(auth)) == old
    assert auth.get("/readyz").json == {"status": "degraded", "degraded": ["signing_key"]}

    with pair.public_file.open("a") as file:
        file.write(other_key_pair.public_file.read_text())
    assert kid_of(get_token(auth)) == other_key_pair.kid
    assert auth.get("/readyz").json == {"status": "ok"}


def test_nothing_is_signed_while_the_only_private_key_is_unpublished(
    auth: FlaskClient, pair: KeyPair, other_key_pair: KeyPair
) -> None:
    shutil.copy(other_key_pair.public_file, pair.public_file)

    refused = auth.post("/token", data={"username": "student1", "password": "password123"})

    assert refused.status_code == 503
    assert auth.get("/readyz").status_code == 503


# Each command, with the steps that prepare it.
COMMANDS = {
    "generate": (None, ["generate"]),
    "publish": ([], ["rotate"]),
    "activate": ([["rotate"], 104], ["rotate"]),
    "revoke the active key": ([], ["revoke", "ACTIVE"]),
    "revoke the active key while there is a next one": ([["rotate"]], ["revoke", "ACTIVE"]),
    "revoke the next key": ([["rotate"]], ["revoke", "NEXT"]),
}


@pytest.mark.parametrize(("preparation", "command"), COMMANDS.values(), ids=COMMANDS)
def test_killed_command_leaves_a_working_state(
    preparation: list[Any] | None, command: list[str], pair: KeyPair, auth: FlaskClient, tmp_path: Path
) -> None:
    """Kill the command before its first change to the files, its second, and so on until it completes."""
    old_token = get_token(auth)
    prepare(auth, pair, preparation or [])
    kids = {state.upper(): kid for kid, state in states(auth).items()}
    command = [kids.get(argument, argument) for argument in command]
    running = restart(auth)
    if preparation is None:
        pair.private_file.unlink()
        pair.public_file.unlink()
    folder, before = pair.private_file.parent, tmp_path / "before"
    folder.rename(before)
    moments = 0
    was_killed = True
    while was_killed:
        moments += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        RECORD.unlink(missing_ok=True)
        if preparation is not None:
            running = restart(auth)
        was_killed = run_until(auth, command, moments)
        if preparation is not None:
            check_that_all_works(running, pair, command, old_token)
        again = keys(auth, *command)
        assert again.exit_code == 0 or not was_killed, again.output
        assert not list(folder.glob(".*")), "no draft is left, which may hold a private key"
        assert list(states(auth).values()).count("active") == 1
        assert set(command) & {"generate", "rotate"} or command[1] not in states(auth)
    assert moments > 2, "it was killed at least twice"


def run_until(auth: FlaskClient, command: list[str], moment: int) -> bool:
    """Run a command that kills itself before its nth change to the files, and return whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads
        child = os.fork()
    if child == 0:
        changes = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal changes
            is_record = event == "open" and str(arguments[0]) == str(RECORD) and arguments[2] & os.O_RDWR
            is_file = event == "os.rename" or (event == "os.remove" and ".draft" not in str(arguments[0]))
            if is_record or is_file:
                changes += 1
                if changes == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        os._exit(keys(auth, *command).exit_code)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status == signal.SIGKILL


def check_that_all_works(running: FlaskClient, pair: KeyPair, command: list[str], old_token: str) -> None:
    """Check that a running and a new service accept what they sign, and that only a revocation ends tokens.

    A key that is recorded as revoked but not yet replaced signs nothing.
    """
    revoked = RECORD.read_text().split()[:1] if RECORD.exists() else []
    if pair.kid in revoked:
        assert (
            running.post("/token", data={"username": "student1", "password": "password123"}).status_code
            == 503
        )
        assert running.get("/users/me", headers=bearer(old_token)).status_code == 401
        with pytest.raises(SystemExit):
            restart(running)
        return
    for service in (running, restart(running)):
        token = get_token(service)
        assert service.get("/users/me", headers=bearer(token)).status_code == 200
        old_works = service.get("/users/me", headers=bearer(old_token)).status_code == 200
        assert old_works == (kid_of(old_token) not in revoked)
