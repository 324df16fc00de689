"""Courses, for those who may read them."""

import pytest
from flask.testing import FlaskClient

from tests.conftest import bearer, both_databases
from tests.forger import ABSENT, Forger

pytestmark = both_databases


def test_pages_together_hold_every_course_once_and_in_order(course: FlaskClient, forger: Forger) -> None:
    ids = []
    for page in (1, 2, 3):
        answer = course.get(f"/courses?page={page}&per_page=2", headers=bearer(forger.sign())).json
        assert answer
        assert (answer["page"], answer["per_page"], answer["total"]) == (page, 2, 6)
        ids += [found["id"] for found in answer["courses"]]

    assert ids == [1, 2, 3, 4, 5, 6]


def test_page_after_the_last_is_empty(course: FlaskClient, forger: Forger) -> None:
    answer = course.get("/courses?page=1000000", headers=bearer(forger.sign())).json

    assert answer == {"courses": [], "page": 1_000_000, "per_page": 20, "total": 6}


def test_course_is_read_by_its_id(course: FlaskClient, forger: Forger) -> None:
    answer = course.get("/courses/1", headers=bearer(forger.sign())).json

    assert answer
    assert (answer["id"], answer["title"]) == (1, "Public-key cryptography")


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=1000001",
        "page=x",
        "page=1.5",
        "page=",
        "page=1&page=2",
        "per_page=0",
        "per_page=101",
        "page=%00",
        "page=%ff",
        "page=" + "9" * 5000,
        "page=\u0663",
    ],
)
def test_bad_page_is_refused(query: str, course: FlaskClient, forger: Forger) -> None:
    response = course.get(f"/courses?{query}", headers=bearer(forger.sign()))

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "course_id", ["7", "0", "01", "-1", "x", "1.0", "999999999", "9999999999", "9" * 5000, "%00", "%ff"]
)
def test_course_that_is_not_there_is_not_found(course_id: str, course: FlaskClient, forger: Forger) -> None:
    response = course.get(f"/courses/{course_id}", headers=bearer(forger.sign()))

    assert (response.status_code, response.json and response.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/courses", "/courses/1", "/courses/7"])
@pytest.mark.parametrize(
    "scope", [ABSENT, "", "courses:write", "courses:rea", "courses:readx", "COURSES:READ"]
)
def test_token_without_the_scope_is_forbidden(
    path: str, scope: object, course: FlaskClient, forger: Forger
) -> None:
    response = course.get(path, headers=bearer(forger.sign(scope=scope)))

    assert response.status_code == 403
    assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="courses:read"'
    assert response.json
    assert response.json["error"] == "insufficient_scope"


def test_one_of_several_scopes_is_enough(course: FlaskClient, forger: Forger) -> None:
    response = course.get("/courses", headers=bearer(forger.sign(scope="x courses:read y")))

    assert response.status_code == 200
