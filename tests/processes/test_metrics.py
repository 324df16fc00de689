"""`/metrics` returns the same totals from every worker."""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from tests.conftest import KeyPair, add_client, bearer, log_in, make_key_pair, open_auth, open_course
from tests.forger import Forger
from tests.servers import ROOT, Server, call, serve_pair, wait_for
from tests.unit.test_offline_revocation import LISTS

STUDENT = {"username": "student1", "password": "password123"}


def read(text: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have the given labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def increase(client: FlaskClient, do: Callable[[], object], name: str, **labels: str) -> float:
    """Return by how much a metric increases while `do` runs."""
    before = read(client.get("/metrics").text, name, **labels)
    do()
    return read(client.get("/metrics").text, name, **labels) - before


def test_requests_are_counted_by_route_and_status(course: FlaskClient, forger: Forger) -> None:
    def ask() -> TestResponse:
        return course.get("/courses/1", headers=bearer(forger.sign()))

    labels = {"method": "GET", "route": "/courses/<course_id:course_id>", "status": "200"}
    assert increase(course, ask, "http_request_duration_seconds_count", **labels) == 1
    assert increase(course, ask, "http_request_duration_seconds_sum", **labels) > 0
    assert increase(course, ask, "http_request_duration_seconds_bucket", **labels, le="10.0") == 1


def test_invented_paths_and_methods_share_one_label(course: FlaskClient) -> None:
    def ask() -> None:
        course.get("/made-up-1")
        course.get("/made-up-2")
        course.open("/courses", method="FOO")

    name = "http_request_duration_seconds_count"
    assert increase(course, ask, name, route="none", status="404", method="GET") == 2
    assert increase(course, ask, name, route="none", status="405", method="other") == 1
    assert "made-up" not in course.get("/metrics").text
    assert "FOO" not in course.get("/metrics").text


def test_failed_request_is_counted(course: FlaskClient) -> None:
    def fail() -> str:
        raise RuntimeError

    course.application.add_url_rule("/broken", view_func=fail)
    name = "http_request_duration_seconds_count"
    labels = {"method": "GET", "route": "/broken", "status": "500"}
    assert increase(course, lambda: course.get("/broken"), name, **labels) == 1


def test_logins_are_counted_by_result(auth: FlaskClient) -> None:
    def fail() -> None:
        auth.post("/token", data={"username": "nobody", "password": "wrong"})

    assert increase(auth, lambda: log_in(auth), "logins_total", result="succeeded") == 1
    assert increase(auth, fail, "logins_total", result="failed") == 1
    for _ in range(5):
        fail()
    assert increase(auth, fail, "logins_total", result="throttled") == 1


@pytest.mark.parametrize("grant", ["password", "refresh_token", "client_credentials"])
def test_tokens_are_counted_by_grant(grant: str, auth: FlaskClient) -> None:
    refresh_token = log_in(auth)["refresh_token"]
    credentials = add_client(auth) if grant == "client_credentials" else None
    form = {"grant_type": grant} | {
        "password": STUDENT,
        "refresh_token": {"refresh_token": refresh_token},
        "client_credentials": {},
    }[grant]

    def ask() -> None:
        assert auth.post("/token", data=form, auth=credentials).status_code == 200

    assert increase(auth, ask, "tokens_issued_total", grant=grant) == 1


# Refused tokens, by the reason that is counted; None is a request without a token.
REFUSALS: dict[str, Callable[[Forger], str | None]] = {
    "missing": lambda _: None,
    "form": lambda _: "x",
    "signature": lambda forger: forger.sign(None, lambda _: b"x"),
    "kid": lambda forger: forger.sign({"kid": "unknown"}),
    "aud": lambda forger: forger.sign(aud="x"),
    "expired": lambda forger: forger.sign(iat=1, exp=2),
    "claims": lambda forger: forger.sign(jti=""),
    "scope": lambda forger: forger.sign(scope=""),
    "revoked": lambda forger: forger.sign(status="?"),
    "undetermined": lambda forger: forger.sign(status={"status_list": {"idx": 1, "uri": f"{LISTS}/1"}}),
}


@pytest.mark.parametrize(("reason", "make"), REFUSALS.items(), ids=REFUSALS)
def test_refusals_are_counted_by_reason(
    reason: str, make: Callable[[Forger], str | None], forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    token = make(forger)
    headers = bearer(token) if token is not None else {}
    with open_course(
        f"sqlite:///{tmp_path}/course.db",
        key_pair,
        status_claim="optional",
        status_lists_url="http://127.0.0.1:9/lists",
        copies=tmp_path,
    ) as course:
        assert increase(
            course, lambda: course.get("/courses", headers=headers), "token_refusals_total", reason=reason
        ) == (1)


def test_unknown_kids_are_counted(course: FlaskClient, forger: Forger) -> None:
    headers = bearer(forger.sign({"kid": "unknown"}))

    assert increase(course, lambda: course.get("/courses", headers=headers), "unknown_kids_total") == 1


def test_dashboard_queries_only_existing_metrics(auth: FlaskClient, course: FlaskClient) -> None:
    panels = json.loads((ROOT / "deploy/grafana.json").read_text())["panels"]
    asked = {
        re.sub("_(bucket|count)$", "", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"[a-z_]+_(?:seconds|total|flight)(?:_bucket|_count)?", target["expr"])
    }
    told = auth.get("/metrics").text + course.get("/metrics").text
    fetched = {"keys_age_seconds", "status_lists_age_seconds"}  # only by a service that fetches them

    assert len(asked) == 10
    assert [name for name in asked - fetched if f"# TYPE {name} " not in told] == []


def test_signing_key_age_is_exported(auth: FlaskClient) -> None:
    assert 0 <= read(auth.get("/metrics").text, "signing_key_age_seconds") < 3600


def test_metrics_work_without_a_signing_key(new_database: Callable[[], str], tmp_path: Path) -> None:
    pair = make_key_pair(tmp_path)
    with open_auth(new_database(), pair) as auth:
        pair.private_file.unlink()

        response = auth.get("/metrics")

        assert response.status_code == 200
        assert "signing_key_age_seconds" not in response.text


def test_metrics_can_be_turned_off(key_pair: KeyPair, tmp_path: Path) -> None:
    with open_course(f"sqlite:///{tmp_path}/course.db", key_pair, metrics="off") as course:
        assert course.get("/metrics").status_code == 404


def test_metrics_can_be_restricted_to_a_port(key_pair: KeyPair, tmp_path: Path) -> None:
    with open_course(f"sqlite:///{tmp_path}/course.db", key_pair, metrics_port=9082) as course:
        assert course.get("/metrics").status_code == 404
        assert course.get("/metrics", headers={"Host": "127.0.0.1:9082"}).status_code == 404
        assert course.get("/metrics", environ_overrides={"SERVER_PORT": "9082"}).status_code == 200


def scrape(server: Server) -> str:
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return str(answer.read().decode())


def test_metrics_add_up_all_workers_including_killed_ones(tmp_path: Path) -> None:
    name, labels = "tokens_issued_total", {"grant": "password"}
    with serve_pair(tmp_path) as pair:
        for _ in range(20):
            assert call(f"{pair.auth.url}/token", form=STUDENT)[0] == 200
        assert {read(scrape(pair.auth), name, **labels) for _ in range(20)} == {20}

        _, victim, _ = pair.auth.workers()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in pair.auth.workers() and len(pair.auth.workers()) == 3)

        assert call(f"{pair.auth.url}/token", form=STUDENT)[0] == 200
        assert {read(scrape(pair.auth), name, **labels) for _ in range(20)} == {21}
        assert read(scrape(pair.auth), "password_hashes_in_flight") == 0
        token = get_token_of(pair.auth)
        assert call(f"{pair.course.url}/courses", token)[0] == 200
        assert 0 <= read(scrape(pair.course), "status_lists_age_seconds") < 60


def test_password_hash_in_flight_is_exported_until_its_worker_ends(tmp_path: Path) -> None:
    def log_in_slowly() -> None:
        with contextlib.suppress(OSError, HTTPException):  # the worker is killed
            call(f"{pair.auth.url}/token", form=STUDENT)

    with serve_pair(tmp_path, auth_settings={"ARGON2_PASSES": "100"}) as pair:
        login = threading.Thread(target=log_in_slowly)
        login.start()
        wait_for(lambda: read(scrape(pair.auth), "password_hashes_in_flight") == 1)
        for worker in pair.auth.workers()[1:]:
            os.kill(worker, signal.SIGKILL)
        login.join()

        wait_for(lambda: read(scrape(pair.auth), "password_hashes_in_flight") == 0)


def test_metrics_files_are_removed_when_the_server_stops(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serve_pair(tmp_path, auth_settings={"TMPDIR": str(temporary)}) as pair:
        assert call(f"{pair.auth.url}/token", form=STUDENT)[0] == 200
        assert [path.name[:8] for path in temporary.iterdir()] == ["metrics-"]

    assert list(temporary.iterdir()) == []


def get_token_of(server: Server) -> str:
    token: str = call(f"{server.url}/token", form=STUDENT)[1]["access_token"]
    return token
