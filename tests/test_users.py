"""What users see of themselves."""

import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import User
from tests.conftest import bearer, both_databases, find_user, get_token

pytestmark = both_databases


def test_user_sees_own_name_and_roles(auth: FlaskClient) -> None:
    response = auth.get("/users/me", headers=bearer(get_token(auth)))

    assert response.json == {
        "id": str(find_user(auth, "student1").id),
        "username": "student1",
        "roles": ["student"],
        "is_disabled": False,
        "last_login_at": find_user(auth, "student1").last_login_at,
    }


def test_disabled_user_sees_nothing(auth: FlaskClient) -> None:
    token = get_token(auth)
    with auth.application.app_context():
        db = auth.application.extensions["sqlalchemy"]
        db.session.execute(sa.update(User).values(is_disabled=True))
        db.session.commit()

    response = auth.get("/users/me", headers=bearer(token))

    assert response.status_code == 401


def test_no_token_no_user(auth: FlaskClient) -> None:
    assert auth.get("/users/me").status_code == 401
