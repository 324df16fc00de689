"""Whatever a client sends, the response is one that openapi.yml allows: with a token and without."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import KeyPair, get_token, open_auth, open_course
from tests.forger import Forger
from tests.servers import ROOT

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FEW = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def auth_client(tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(f"sqlite:///{tmp_path_factory.mktemp('auth')}/auth.db", key_pair) as client:
        yield client


@pytest.fixture(scope="module")
def course_client(tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_course(f"sqlite:///{tmp_path_factory.mktemp('course')}/course.db", key_pair) as client:
        yield client


@pytest.fixture(scope="module")
def auth_schema(auth_client: FlaskClient) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", auth_client.application)


@pytest.fixture(scope="module")
def course_schema(course_client: FlaskClient) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", course_client.application)


@pytest.fixture(scope="module")
def admin_token(auth_client: FlaskClient) -> str:
    return get_token(auth_client, "admin1")


OPERATIONS = [
    (service, path, method)
    for service in ("auth", "course")
    for path, methods in yaml.safe_load((ROOT / f"{service}_app/openapi.yml").read_text())["paths"].items()
    for method in methods
    if method != "parameters"
]


@pytest.mark.parametrize("with_token", [False, True], ids=["without a token", "with a token"])
@pytest.mark.parametrize(("service", "path", "method"), OPERATIONS)
def test_operation_responds_as_documented(
    service: str, path: str, method: str, with_token: bool, forger: Forger, request: pytest.FixtureRequest
) -> None:
    schema: schemathesis.BaseSchema = request.getfixturevalue(f"{service}_schema")
    scope = "courses:read courses:write enrolments:write"
    headers = {}
    if with_token:
        token = forger.sign(scope=scope) if service == "course" else request.getfixturevalue("admin_token")
        headers = {"Authorization": f"Bearer {token}"}

    @FEW
    @given(case=schema[path][method].as_strategy())
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers)

    ask()
