"""Refresh sessions in a test, and move the clock between refreshes."""

from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import Session
from tests.conftest import bearer, change_row

GRACE = 10  # seconds, by default


def refresh(client: FlaskClient, refresh_token: str, **changes: Any) -> TestResponse:
    auth = changes.pop("auth", None)
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token} | changes
    return client.post("/token", data=form, auth=auth)


def refreshed(client: FlaskClient, refresh_token: str, **changes: Any) -> dict[str, Any]:
    response = refresh(client, refresh_token, **changes)
    assert response.status_code == 200, response.text
    assert isinstance(response.json, dict)
    return response.json


def is_refused(response: TestResponse, error: str = "invalid_grant") -> bool:
    return (response.status_code, response.json and response.json["error"]) == (400, error)


def sees_itself(client: FlaskClient, access_token: str) -> bool:
    return client.get("/users/me", headers=bearer(access_token)).status_code == 200


def sessions(client: FlaskClient) -> list[Session]:
    with client.application.app_context():
        return list(client.application.extensions["sqlalchemy"].session.scalars(sa.select(Session)))


def let_pass(client: FlaskClient, seconds: float) -> None:
    """Make every rotation older by some seconds, or more recent if `seconds` is negative."""
    change_row(client, sa.update(Session).values(rotated_at=Session.rotated_at - seconds))


def let_grace_pass(client: FlaskClient) -> None:
    let_pass(client, GRACE + 1)
