"""Ten thousand random and mutated Authorization headers and bodies never cause a 5xx."""

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import KeyPair, bearer, open_auth, open_course
from tests.forger import Forger

many = settings(
    max_examples=5000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=80)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["username", "password", "grant_type", "scope", "client_id"]
bodies = st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=5)
CONTENT_TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data",
    "",
]


@pytest.fixture(scope="module")
def auth_client(tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_auth(f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/auth.db", key_pair) as client:
        yield client


@pytest.fixture(scope="module")
def course_client(tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair) -> Iterator[FlaskClient]:
    with open_course(f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/course.db", key_pair) as client:
        yield client


@pytest.fixture(scope="module")
def token(key_pair: KeyPair) -> str:
    return Forger(key_pair.private_key, key_pair.kid).sign()


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """Return a text with one part replaced by another text."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    return text[:start] + draw(latin)[:8] + text[end:]


@many
@given(data=st.data())
def test_random_authorization_headers_never_cause_a_server_error(
    data: st.DataObject, course_client: FlaskClient, token: str
) -> None:
    unsigned = token.rpartition(".")[0]
    value = data.draw(
        latin
        | latin.map(lambda text: f"Bearer {text}")
        | mutations(f"Bearer {token}")
        | mutations(f"Bearer {unsigned}.")
        | st.lists(
            st.sampled_from(["Bearer", "bearer", "Basic", ",", " ", ".", "=", token, "x"]), max_size=8
        ).map("".join)
    )

    response = course_client.get("/courses", environ_overrides={"HTTP_AUTHORIZATION": value})

    assert response.status_code in {200, 401}


@many
@given(data=st.data())
def test_random_bodies_never_cause_a_server_error(data: st.DataObject, auth_client: FlaskClient) -> None:
    good = {"username": "student1", "password": "password123", "scope": "courses:read"}
    body = data.draw(
        st.binary(max_size=200)
        | bodies.map(lambda value: json.dumps(value).encode())
        | json_values.map(lambda value: json.dumps(value).encode())
        | mutations(json.dumps({**good, "grant_type": "x"})).map(str.encode)
        | mutations(urlencode({**good, "grant_type": "x"})).map(str.encode)
    )
    content_type = data.draw(st.sampled_from(CONTENT_TYPES) | latin)

    response = auth_client.post("/token", data=body, environ_overrides={"CONTENT_TYPE": content_type})

    assert response.status_code in {200, 400, 401, 413, 415, 429}


def test_unmutated_inputs_are_accepted(
    auth_client: FlaskClient, course_client: FlaskClient, token: str
) -> None:
    """The inputs are good before they are mutated."""
    good = {"username": "student1", "password": "password123", "scope": "courses:read"}

    assert course_client.get("/courses", headers=bearer(token)).status_code == 200
    assert auth_client.post("/token", data=good).status_code == 200
    assert auth_client.post("/token", json=good).status_code == 200
