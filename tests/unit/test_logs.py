"""Log lines are JSON with the request's ID, whichever application in the process writes them."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from flask import Flask, current_app

from auth_app import audit
from shared import request_id
from shared.logs import JsonFormatter
from tests.servers import ROOT


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def foreign_app() -> Flask:
    """An application that uses none of our extensions."""
    app = Flask("foreign_app")

    @app.get("/")
    def log() -> str:
        current_app.logger.warning("something happened")
        audit.record("something_happened", actor="somebody")
        return ""

    return app


def test_application_without_request_ids_logs_json_too(foreign_app: Flask, log_stream: io.StringIO) -> None:
    assert foreign_app.test_client().get("/").status_code == 200

    (line,) = [json.loads(line) for line in log_stream.getvalue().splitlines() if "message" in line]
    assert (line["message"], line["request_id"]) == ("something happened", None)


def test_application_without_request_ids_records_audit_events(
    foreign_app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "audit"):
        foreign_app.test_client().get("/")

    (line,) = [json.loads(record.getMessage()) for record in caplog.records if record.name == "audit"]
    assert line["request_id"] is None
    assert line["address"] == "127.0.0.1"


def test_log_line_has_the_request_id(foreign_app: Flask, log_stream: io.StringIO) -> None:
    request_id.init_app(foreign_app)

    foreign_app.test_client().get("/", headers={"X-Request-ID": "abc"})

    assert '"request_id": "abc"' in log_stream.getvalue()


def test_log_line_outside_a_request_has_no_request_id(log_stream: io.StringIO) -> None:
    logging.getLogger("elsewhere").error("it failed: %s", "why")

    line = json.loads(log_stream.getvalue())
    assert (line["logger"], line["level"], line["message"]) == ("elsewhere", "error", "it failed: why")
    assert line["request_id"] is None


def test_forked_processes_generate_distinct_request_ids() -> None:
    """Workers are forked from one process and inherit its random generator."""
    script = (
        "import os\nfrom flask import Flask\nfrom shared import request_id\n"
        "app = Flask('service')\nrequest_id.init_app(app)\n"
        "def ask(): print(app.test_client().get('/').headers['X-Request-ID'], flush=True)\n"
        "ask()\n"
        "for _ in range(3):\n"
        "    if not (pid := os.fork()):\n        ask()\n        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    ids = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert len(set(ids)) == 4
    assert {len(one) for one in ids} == {32}
