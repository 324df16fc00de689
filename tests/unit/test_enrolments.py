"""Enrolments: users take and give up only their own seats, and a course is never overbooked."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask_resource_server.testing import TokenIssuer
from tests.conftest import both_databases

pytestmark = both_databases

SCOPES = ["courses:read", "courses:write", "enrolments:write"]
TOGETHER = 20


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
def tokens(course: FlaskClient, issuer: TokenIssuer) -> Iterator[TokenIssuer]:
    with issuer.trusted_by(course.application):
        yield issuer


def headers(tokens: TokenIssuer, subject: object = "a-student") -> dict[str, str]:
    return tokens.headers(subject=str(subject), scopes=SCOPES)


def add(course: FlaskClient, tokens: TokenIssuer, capacity: int | None = None) -> str:
    body = {"title": "Compilers", "capacity": capacity}
    address: str = course.post("/courses", headers=headers(tokens, "t"), json=body).headers["Location"]
    return address


def own(course: FlaskClient, tokens: TokenIssuer, subject: object = "a-student") -> list[int]:
    answer: Any = course.get("/me/courses", headers=headers(tokens, subject)).json
    return [found["id"] for found in answer["courses"]]


def test_enrolment_is_idempotent_and_is_for_the_tokens_subject(
    course: FlaskClient, tokens: TokenIssuer
) -> None:
    for _ in range(2):
        assert course.put("/courses/2/enrolment", headers=headers(tokens)).status_code == 204
        assert own(course, tokens) == [2]
        assert own(course, tokens, "somebody else") == []

    for _ in range(2):
        assert course.delete("/courses/2/enrolment", headers=headers(tokens)).status_code == 204
        assert own(course, tokens) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("course_id", ["7", "0", "x", "999999999"])
def test_enrolment_in_an_unknown_course_is_not_found(
    course_id: str, method: str, course: FlaskClient, tokens: TokenIssuer
) -> None:
    response = course.open(f"/courses/{course_id}/enrolment", method=method, headers=headers(tokens))

    assert response.status_code == 404


def test_subject_parameter_is_ignored(course: FlaskClient, tokens: TokenIssuer) -> None:
    response = course.put(
        "/courses/2/enrolment?subject=victim", headers=headers(tokens), json={"subject": "victim"}
    )

    assert response.status_code == 204
    assert own(course, tokens, "victim") == []
    assert own(course, tokens) == [2]


def test_own_courses_are_paginated(course: FlaskClient, tokens: TokenIssuer) -> None:
    for number in (5, 1, 3):
        course.put(f"/courses/{number}/enrolment", headers=headers(tokens))

    first: Any = course.get("/me/courses?limit=2", headers=headers(tokens)).json
    second: Any = course.get(first["next"], headers=headers(tokens)).json

    assert [found["id"] for found in first["courses"]] == [1, 3]
    assert [found["id"] for found in second["courses"]] == [5]
    assert second["next"] is None


def test_full_course_refuses_enrolments_until_a_seat_is_given_up(
    course: FlaskClient, tokens: TokenIssuer
) -> None:
    address = add(course, tokens, capacity=1) + "/enrolment"
    assert course.put(address, headers=headers(tokens, "a")).status_code == 204

    refused = course.put(address, headers=headers(tokens, "b"))

    assert (refused.status_code, refused.json and refused.json["error"]) == (409, "course_full")
    assert course.put(address, headers=headers(tokens, "a")).status_code == 204, "a seat is kept"
    assert course.delete(address, headers=headers(tokens, "b")).status_code == 204
    assert course.put(address, headers=headers(tokens, "b")).status_code == 409, "which frees no seat"
    assert course.delete(address, headers=headers(tokens, "a")).status_code == 204
    assert course.put(address, headers=headers(tokens, "b")).status_code == 204


def test_capacity_cannot_fall_below_the_seats_taken(course: FlaskClient, tokens: TokenIssuer) -> None:
    address = add(course, tokens, capacity=5)
    for subject in range(3):
        course.put(f"{address}/enrolment", headers=headers(tokens, subject))
    change = headers(tokens, "t") | {"If-Match": "*"}

    refused = course.patch(address, headers=change, json={"capacity": 2})

    assert (refused.status_code, refused.json and refused.json["error"]) == (409, "capacity_too_small")
    assert course.patch(address, headers=change, json={"capacity": 3}).status_code == 200
    assert course.put(f"{address}/enrolment", headers=headers(tokens, "late")).status_code == 409


def test_deleting_a_course_deletes_its_enrolments(course: FlaskClient, tokens: TokenIssuer) -> None:
    address = add(course, tokens)
    course.put(f"{address}/enrolment", headers=headers(tokens))

    assert course.delete(address, headers=headers(tokens, "t") | {"If-Match": "*"}).status_code == 204

    assert own(course, tokens) == []
    again = add(course, tokens)
    assert own(course, tokens) == [], f"even where {again} has the ID of the deleted one"


def send_together(course: FlaskClient, *requests: dict[str, Any]) -> Counter[int]:
    barrier = Barrier(len(requests))

    def send(request: dict[str, Any]) -> int:
        client = course.application.test_client()
        barrier.wait()
        return client.open(**request).status_code

    with ThreadPoolExecutor(len(requests)) as pool:
        return Counter(pool.map(send, requests))


def enrol(address: str, token: dict[str, str]) -> dict[str, Any]:
    return {"path": address, "method": "PUT", "headers": token}


@pytest.mark.parametrize("capacity", [1, 7])
def test_simultaneous_enrolments_never_exceed_the_capacity(
    capacity: int, course: FlaskClient, tokens: TokenIssuer
) -> None:
    address = add(course, tokens, capacity=capacity) + "/enrolment"
    together = [headers(tokens, subject) for subject in range(TOGETHER)]

    statuses = send_together(course, *(enrol(address, token) for token in together))

    assert statuses == {204: capacity, 409: TOGETHER - capacity}
    assert sum(bool(own(course, tokens, subject)) for subject in range(TOGETHER)) == capacity


def test_simultaneous_enrolments_of_one_user_take_one_seat(course: FlaskClient, tokens: TokenIssuer) -> None:
    address = add(course, tokens, capacity=2) + "/enrolment"

    statuses = send_together(course, *[enrol(address, headers(tokens))] * TOGETHER)

    assert statuses == {204: TOGETHER}
    assert course.put(address, headers=headers(tokens, "b")).status_code == 204
    assert course.put(address, headers=headers(tokens, "c")).status_code == 409


def test_only_one_of_many_simultaneous_changes_succeeds(course: FlaskClient, tokens: TokenIssuer) -> None:
    address = add(course, tokens)
    tag = course.get(address, headers=headers(tokens, "t")).headers["ETag"]
    change = {"path": address, "method": "PATCH", "headers": headers(tokens, "t") | {"If-Match": tag}}

    statuses = send_together(course, *(change | {"json": {"title": str(n)}} for n in range(TOGETHER)))

    assert statuses == {200: 1, 412: TOGETHER - 1}
