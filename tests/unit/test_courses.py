"""Courses: users with the scope can read and write them, and no update is lost."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from course_app.models import Course
from tests.conftest import bearer, both_databases, change_row
from tests.forger import ABSENT, Forger
from tests.unit.test_sign_in_races import before_statement

pytestmark = both_databases

SCOPES = "courses:read courses:write enrolments:write"
TITLES = {"title": "Compilers"}


@pytest.fixture
def teacher(forger: Forger) -> dict[str, str]:
    return bearer(forger.sign(sub="a-teacher", scope=SCOPES))


@pytest.fixture
def other(forger: Forger) -> dict[str, str]:
    return bearer(forger.sign(sub="another-teacher", scope=SCOPES))


def add(course: FlaskClient, headers: dict[str, str], **members: Any) -> TestResponse:
    response = course.post("/courses", headers=headers, json=TITLES | members)
    assert response.status_code == 201, response.text
    return response


def test_pagination_returns_every_course_once_and_in_order(
    course: FlaskClient, teacher: dict[str, str]
) -> None:
    ids, address = [], "/courses?limit=2"
    pages = 0
    while address:
        answer = course.get(address, headers=teacher).json
        assert answer
        assert len(answer["courses"]) == 2
        ids += [found["id"] for found in answer["courses"]]
        address = answer["next"]
        pages += 1

    assert (ids, pages) == ([1, 2, 3, 4, 5, 6], 3)


def test_next_page_is_unaffected_by_added_and_deleted_courses(
    course: FlaskClient, teacher: dict[str, str]
) -> None:
    first: Any = course.get("/courses?limit=4", headers=teacher).json
    tag = course.get("/courses/1", headers=teacher).headers["ETag"]
    assert course.delete("/courses/1", headers=teacher | {"If-Match": tag}).status_code == 204
    added: Any = add(course, teacher).json

    second: Any = course.get(first["next"], headers=teacher).json

    assert [found["id"] for found in second["courses"]] == [5, 6, added["id"]]


def test_page_after_the_last_is_empty(course: FlaskClient, teacher: dict[str, str]) -> None:
    answer = course.get("/courses?after=999999999", headers=teacher).json

    assert answer == {"courses": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=1000000000",
        "after=x",
        "after=1.5",
        "after=",
        "after=1&after=2",
        "limit=0",
        "limit=101",
        "after=%00",
        "after=%ff",
        "after=" + "9" * 5000,
        "after=\u0663",
    ],
)
def test_bad_pagination_parameter_is_refused(
    query: str, course: FlaskClient, teacher: dict[str, str]
) -> None:
    response = course.get(f"/courses?{query}", headers=teacher)

    assert (response.status_code, response.json and response.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "course_id", ["7", "0", "01", "-1", "x", "1.0", "999999999", "9999999999", "9" * 5000, "%00", "%ff"]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_course_is_not_found(
    method: str, course_id: str, course: FlaskClient, teacher: dict[str, str]
) -> None:
    response = course.open(f"/courses/{course_id}", method=method, headers=teacher | {"If-Match": "*"})

    assert (response.status_code, response.json and response.json["error"]) == (404, "not_found")


# The scope that each operation needs.
GUARDED = {
    "list": ("GET", "/courses", "courses:read"),
    "read": ("GET", "/courses/1", "courses:read"),
    "read an unknown course": ("GET", "/courses/7", "courses:read"),
    "list own": ("GET", "/me/courses", "courses:read"),
    "add": ("POST", "/courses", "courses:write"),
    "change": ("PATCH", "/courses/1", "courses:write"),
    "delete": ("DELETE", "/courses/1", "courses:write"),
    "enrol": ("PUT", "/courses/1/enrolment", "enrolments:write"),
    "leave": ("DELETE", "/courses/1/enrolment", "enrolments:write"),
}


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED.values(), ids=GUARDED)
@pytest.mark.parametrize("kind", ["absent", "empty", "others", "shorter", "longer", "capitals"])
def test_token_without_the_scope_is_forbidden(
    kind: str, method: str, path: str, scope: str, course: FlaskClient, forger: Forger
) -> None:
    others = " ".join({row[2] for row in GUARDED.values()} - {scope})
    scopes = {"absent": ABSENT, "empty": "", "others": others, "shorter": scope[:-1], "longer": scope + "x"}
    token = forger.sign(scope=scopes.get(kind, scope.upper()))

    response = course.open(path, method=method, headers=bearer(token))

    assert response.status_code == 403
    assert response.headers["WWW-Authenticate"].startswith(
        f'Bearer error="insufficient_scope", scope="{scope}", resource_metadata="http'
    )
    assert response.json
    assert response.json["error"] == "insufficient_scope"


def test_added_course_can_be_read(course: FlaskClient, teacher: dict[str, str]) -> None:
    added = add(course, teacher, description="From text to code.\nWith exercises.", capacity=30)

    read = course.get(added.headers["Location"], headers=teacher)

    expected = TITLES | {"id": 7, "description": "From text to code.\nWith exercises.", "capacity": 30}
    assert added.json == read.json == expected
    assert added.headers["ETag"] == read.headers["ETag"]


def test_course_that_is_deleted_at_once_is_reported_as_added(
    course: FlaskClient, teacher: dict[str, str]
) -> None:
    with before_statement(course, "SELECT", lambda: change_row(course, sa.delete(Course))):
        added = add(course, teacher)

    assert (added.status_code, added.get_json()["id"]) == (201, 7)


def test_only_the_title_is_required(course: FlaskClient, teacher: dict[str, str]) -> None:
    assert add(course, teacher).json == TITLES | {"id": 7, "description": "", "capacity": None}


BAD_COURSES: dict[str, tuple[Any, str]] = {
    "no title": ({"description": "x"}, "The parameter title is missing."),
    "empty title": ({"title": ""}, "The parameter title is too short."),
    "long title": ({"title": "x" * 201}, "The parameter title is too long."),
    "title with a line break": (
        {"title": "a\nb"},
        "The parameter title contains characters that are not allowed.",
    ),
    "title with NUL": ({"title": "a\0"}, "The parameter title contains characters that are not allowed."),
    "number as title": ({"title": 1}, "The parameter title has the wrong type."),
    "null as title": ({"title": None}, "The parameter title has the wrong type."),
    "long description": (TITLES | {"description": "x" * 2001}, "The parameter description is too long."),
    "description with NUL": (
        TITLES | {"description": "\0"},
        "The parameter description contains characters that are not allowed.",
    ),
    "zero seats": (TITLES | {"capacity": 0}, "The parameter capacity is too small."),
    "too many seats": (TITLES | {"capacity": 100_001}, "The parameter capacity is too large."),
    "seats as a string": (TITLES | {"capacity": "5"}, "The parameter capacity has the wrong type."),
    "half a seat": (TITLES | {"capacity": 1.5}, "The parameter capacity has the wrong type."),
    "a boolean as seats": (TITLES | {"capacity": True}, "The parameter capacity has the wrong type."),
    "an owner": (
        TITLES | {"owner": "x"},
        "A parameter is unknown. The known ones are title, description, capacity.",
    ),
    "a list": ([], "The request body must be an object."),
}


@pytest.mark.parametrize(("body", "sentence"), BAD_COURSES.values(), ids=BAD_COURSES)
def test_error_names_the_bad_member(
    body: Any, sentence: str, course: FlaskClient, teacher: dict[str, str]
) -> None:
    refused = course.post("/courses", headers=teacher, json=body)
    changed = course.patch("/courses/1", headers=teacher | {"If-Match": "*"}, json=body)

    assert refused.status_code == 400
    assert refused.json == {"error": "invalid_request", "error_description": sentence}
    if "missing" in sentence:
        assert changed.status_code == 200, "a change requires no member"
    else:
        assert (changed.status_code, changed.json) == (400, refused.json)


@pytest.mark.parametrize("path", ["/courses", "/courses/1", "/me/courses"])
def test_unchanged_response_is_a_304(path: str, course: FlaskClient, teacher: dict[str, str]) -> None:
    first = course.get(path, headers=teacher)
    tag = first.headers["ETag"]

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert course.get(path, headers=teacher | {"If-None-Match": tag}).status_code == 304
    assert course.get(path, headers=teacher | {"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("change", [{"title": "New"}, {"description": "New"}, {"capacity": 5}, {}])
def test_change_keeps_omitted_members(
    change: dict[str, Any], course: FlaskClient, teacher: dict[str, str]
) -> None:
    before = add(course, teacher, capacity=3, description="Old")
    address, tag = before.headers["Location"], before.headers["ETag"]

    changed = course.patch(address, headers=teacher | {"If-Match": tag}, json=change)

    assert changed.status_code == 200
    assert before.json
    assert changed.json == before.json | change
    assert changed.headers["ETag"] != tag
    read = course.get(address, headers=teacher | {"If-None-Match": tag})
    assert (read.json, read.headers["ETag"]) == (changed.json, changed.headers["ETag"])


def test_capacity_can_be_removed(course: FlaskClient, teacher: dict[str, str]) -> None:
    added = add(course, teacher, capacity=3)
    headers = teacher | {"If-Match": added.headers["ETag"]}

    changed = course.patch(added.headers["Location"], headers=headers, json={"capacity": None})

    assert changed.json
    assert changed.json["capacity"] is None


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({}, 428),
        ({"If-Match": ""}, 428),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "OLD"}, 412),
        ({"If-Match": "W/NEW"}, 412),
        ({"If-Match": '"other", NEW'}, 200),
        ({"If-Match": "NEW"}, 200),
        ({"If-Match": "*"}, 200),
    ],
)
def test_change_requires_the_current_etag(
    condition: dict[str, str], status: int, method: str, course: FlaskClient, teacher: dict[str, str]
) -> None:
    added = add(course, teacher)
    address, old = added.headers["Location"], added.headers["ETag"]
    new = course.patch(address, headers=teacher | {"If-Match": old}, json={"title": "New"}).headers["ETag"]
    sent = {name: value.replace("OLD", old).replace("NEW", new) for name, value in condition.items()}

    response = course.open(address, method=method, headers=teacher | sent, json={"title": "Newer"})

    assert response.status_code == (204 if status == 200 and method == "DELETE" else status)
    left = course.get(address, headers=teacher)
    if status != 200:
        assert left.json
        assert left.json["title"] == "New", "nothing was changed"
    elif method == "DELETE":
        assert left.status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_only_the_owner_may_change_a_course(
    method: str, course: FlaskClient, teacher: dict[str, str], other: dict[str, str]
) -> None:
    address = add(course, teacher).headers["Location"]

    refused = course.open(address, method=method, headers=other | {"If-Match": "*"}, json=TITLES)

    assert (refused.status_code, refused.json and refused.json["error"]) == (403, "access_denied")
    assert course.get(address, headers=other).status_code == 200


def test_course_without_an_owner_can_be_changed_by_any_writer(
    course: FlaskClient, other: dict[str, str]
) -> None:
    assert course.patch("/courses/1", headers=other | {"If-Match": "*"}, json=TITLES).status_code == 200


def test_new_course_never_has_the_etag_of_a_deleted_one(course: FlaskClient, teacher: dict[str, str]) -> None:
    """SQLite reuses the ID of the last course once that is deleted."""
    old = add(course, teacher)
    assert course.delete(old.headers["Location"], headers=teacher | {"If-Match": "*"}).status_code == 204
    new = add(course, teacher, description="Another one")

    assert new.headers["ETag"] != old.headers["ETag"]


def test_body_nested_too_deeply_is_refused(course: FlaskClient, forger: Forger) -> None:
    body = b'{"title": ' + b"[" * 400 + b"]" * 400 + b"}"
    headers = bearer(forger.sign(scope="courses:write")) | {"Content-Type": "application/json"}
    response = course.post("/courses", data=body, headers=headers)

    assert (response.status_code, response.get_json()["error"]) == (400, "invalid_request")
