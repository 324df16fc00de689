"""The life of a signing key: next, active, retiring, gone, whatever happens meanwhile."""

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
from tests.conftest import KeyPair, bearer, get_token, log_in, open_auth, open_course, run_command


@pytest.fixture
def pair(key_pair: KeyPair, tmp_path: Path) -> KeyPair:
    """A key pair of the test's own."""
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
    assert kid_of(get_token(auth)) == old, "nobody signs with a key that verifiers may not know yet"

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
    assert pair.public_file.read_text().count("BEGIN") == 2, "what is gone is written no more"


def accepts(auth: FlaskClient, course: FlaskClient, token: str) -> bool:
    answers = [auth.get("/users/me", headers=bearer(token)), course.get("/courses", headers=bearer(token))]
    return [answer.status_code for answer in answers] == [200, 200]


def refuses(auth: FlaskClient, course: FlaskClient, token: str) -> bool:
    answers = [auth.get("/users/me", headers=bearer(token)), course.get("/courses", headers=bearer(token))]
    return [answer.status_code for answer in answers] == [401, 401]


def test_second_step_that_comes_too_early_says_when_it_is_due(auth: FlaskClient, pair: KeyPair) -> None:
    keys(auth, "rotate")
    before = states(auth)
    let_time_pass(pair, 101)

    early = keys(auth, "rotate")

    assert early.exit_code == 1
    assert re.search(r"knows the next key yet: run this again after 2\d{3}-.*Z\n", early.output)
    assert states(auth) == before


def test_list_shows_states_and_dates(auth: FlaskClient, pair: KeyPair) -> None:
    started = int(time.time())
    assert re.search(rf"{pair.kid} +active +- +-\n", keys(auth, "list").output), "nobody knows its date"
    keys(auth, "rotate")
    let_time_pass(pair, 104)
    keys(auth, "rotate")

    old, new = json.loads(keys(auth, "list", "--json").stdout)

    assert (old["state"], old["since_at"]) == ("retiring", None)
    assert 913 <= old["until_at"] - started <= 930
    assert (new["state"], new["until_at"]) == ("active", None)
    assert 0 <= new["since_at"] - started <= 15


@pytest.mark.parametrize("state", ["next", "active", "active, with one that is next", "retiring"])
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
    before = states(auth)
    kid = next(kid for kid in before if before[kid] == state.partition(",")[0])

    revoked = keys(auth, "revoke", kid)

    assert (revoked.exit_code, revoked.stdout) == (0, f"revoked {kid}\n")
    assert kid not in published(auth) | set(states(auth))
    assert list(states(auth).values()).count("active") == 1
    assert not pair.private_file.with_suffix(".next.pem").exists()
    form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    refreshed = auth.post("/token", data=form).json
    assert refreshed
    for token in [*tokens, refreshed["access_token"]]:
        assert (refuses if kid_of(token) == kid else accepts)(auth, course, token)


def test_revoke_takes_a_kid_that_looks_like_an_option(auth: FlaskClient) -> None:
    """A thumbprint may begin with a dash."""
    refused = keys(auth, "revoke", "-abc")

    assert (refused.exit_code, refused.stderr) == (
        1,
        "Error: there is no key -abc: `keys list` shows them all\n",
    )


@pytest.mark.parametrize("command", [["list"], ["rotate"], ["revoke", "x"]])
def test_keys_in_variables_are_not_rotated(command: list[str], pair: KeyPair) -> None:
    settings = AuthSettings(jwt_private_key=SecretStr(pair.private_file.read_text()))
    app = auth_app.create_app(settings.model_copy(update={"jwt_public_key": pair.public_file.read_text()}))

    refused = app.test_cli_runner().invoke(args=["keys", *command])

    assert refused.exit_code == 1
    assert "changed where the variables are set" in refused.output


def test_owner_and_mode_of_the_files_stay(auth: FlaskClient, pair: KeyPair) -> None:
    """As where root owns the private key and a group may read it, by PostgreSQL's rule."""
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
    ids=["no public", "empty public", "no date", "no private", "readable private", "damaged private"],
)
def test_change_for_the_worse_leaves_the_last_good_keys_in_force(
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
    assert "was read again" in caplog.text


def test_private_key_that_is_not_published_does_not_sign(
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


def test_nothing_is_signed_once_no_private_key_is_published(
    auth: FlaskClient, pair: KeyPair, other_key_pair: KeyPair
) -> None:
    shutil.copy(other_key_pair.public_file, pair.public_file)

    refused = auth.post("/token", data={"username": "student1", "password": "password123"})

    assert refused.status_code == 503
    assert auth.get("/readyz").status_code == 503


# Each command, and what comes before it.
COMMANDS = {
    "generate": (None, ["generate"]),
    "publish": ([], ["rotate"]),
    "activate": ([["rotate"], 104], ["rotate"]),
    "revoke the active one": ([], ["revoke", "ACTIVE"]),
    "revoke the active one, with one that is next": ([["rotate"]], ["revoke", "ACTIVE"]),
    "revoke the one that is next": ([["rotate"]], ["revoke", "NEXT"]),
}


@pytest.mark.parametrize(("preparation", "command"), COMMANDS.values(), ids=COMMANDS)
def test_command_that_is_killed_leaves_what_works(
    preparation: list[Any] | None, command: list[str], pair: KeyPair, auth: FlaskClient, tmp_path: Path
) -> None:
    """Kill the command before its first change to the files, its second, and so on until it gets through."""
    old_token = get_token(auth)
    for step in preparation or []:
        let_time_pass(pair, step) if isinstance(step, int) else keys(auth, *step)
    kids = {state.upper(): kid for kid, state in states(auth).items()}
    command = [kids.get(argument, argument) for argument in command]
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
        was_killed = run_until(auth, command, moments)
        if preparation is not None:
            check_that_all_works(auth, command, old_token)
        again = keys(auth, *command)
        assert again.exit_code == 0 or not was_killed, again.output
        assert not list(folder.glob(".*")), "no draft is left, which may hold a private key"
        assert list(states(auth).values()).count("active") == 1
        assert set(command) & {"generate", "rotate"} or command[1] not in states(auth)
    assert moments > 2, "it was killed twice or more"


def run_until(auth: FlaskClient, command: list[str], moment: int) -> bool:
    """Run a command that kills itself before its `moment`th change to the files, and tell whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        changes = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal changes
            if event == "os.rename" or (event == "os.remove" and ".draft" not in str(arguments[0])):
                changes += 1
                if changes == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        os._exit(keys(auth, *command).exit_code)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}
    return status == signal.SIGKILL


def check_that_all_works(auth: FlaskClient, command: list[str], old_token: str) -> None:
    """A service that runs, and one that starts now, sign what they accept; only a revocation ends tokens."""
    restarted = auth_app.create_app(auth.application.extensions["settings"]).test_client()
    for service in (auth, restarted):
        token = get_token(service)
        assert service.get("/users/me", headers=bearer(token)).status_code == 200
        old_works = service.get("/users/me", headers=bearer(old_token)).status_code == 200
        assert old_works or kid_of(old_token) in command
