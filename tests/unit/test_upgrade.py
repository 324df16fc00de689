"""Sessions and clients of the version before browser sign-in keep working after the upgrade."""

from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from auth_app.models import Client
from flask_resource_server.tokens.status_list import read_reference
from tests.conftest import KeyPair, bearer, both_databases, find_user, log_in, read_claims, run_command
from tests.forger import ABSENT, COURSES, ISSUER, Forger
from tests.old_database import LIST, digest, upgrading
from tests.status_bits import is_set

pytestmark = both_databases

REPORTS = ("reports", "secret-of-reports-before-the-upgrade")
OLD_SECRET = "secret-of-reports-before-the-last-change"


def refresh(auth: FlaskClient, token: str, credentials: tuple[str, str] | None = None) -> TestResponse:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return auth.post("/token", data=form, auth=credentials)


def test_sessions_keep_working(auth: FlaskClient, key_pair: KeyPair) -> None:
    with upgrading(auth) as old:
        student = old.add_user("student1")
        first, first_token = old.add_session(student, "first-party")
        _, client_token = old.add_session(student, "reports")
        old.add_client(*REPORTS)
    access_token = Forger(key_pair.private_key, key_pair.kid, str(student), str(first)).sign()

    assert auth.get("/users/me", headers=bearer(access_token)).get_json()["username"] == "student1"
    assert refresh(auth, client_token).status_code == 400, "the token belongs to the client"
    for token, credentials in ((first_token, None), (client_token, REPORTS)):
        renewed = refresh(auth, token, credentials)
        assert (renewed.status_code, renewed.get_json()["scope"]) == (200, "courses:read")
        claims = read_claims(renewed.get_json()["access_token"])
        assert (claims["sub"], claims["aud"]) == (str(student), [ISSUER, COURSES])
        assert refresh(auth, renewed.get_json()["refresh_token"], credentials).status_code == 200


def test_passwords_and_clients_keep_working(auth: FlaskClient, key_pair: KeyPair) -> None:
    with upgrading(auth) as old:
        old.add_user("student1")
        session, _ = old.add_session(None, "reports")
        overlap: dict[str, Any] = {
            "previous_secret_hash": digest(OLD_SECRET),
            "previous_secret_expires_at": old.now + 60,
        }
        old.add_client(*REPORTS, session_id=session, **overlap)
    own = {"sub": "reports", "client_id": "reports", "sid": ABSENT}
    reference = {"status_list": {"idx": 1, "uri": f"{ISSUER}/.well-known/status-list/{LIST}"}}
    access_token = Forger(key_pair.private_key, key_pair.kid).sign(**own, status=reference)

    inspected = auth.post("/introspect", data={"token": access_token}, auth=REPORTS)
    assert (inspected.get_json()["active"], inspected.get_json()["client_id"]) == (True, "reports")
    assert refresh(auth, log_in(auth)["refresh_token"]).status_code == 200
    form = {"username": "student1", "password": "password123"}
    for credentials in (REPORTS, ("reports", OLD_SECRET)):
        own_token = auth.post("/token", data={"grant_type": "client_credentials"}, auth=credentials)
        assert read_reference(read_claims(own_token.get_json()["access_token"])) == (
            f"{ISSUER}/.well-known/status-list/{LIST}",
            1,
        )
        answer = auth.post("/token", data=form, auth=credentials).get_json()
        assert read_claims(answer["access_token"])["client_id"] == "reports"
        assert refresh(auth, answer["refresh_token"], credentials).status_code == 200
    assert run_command(auth, "demo-data").exit_code == 0


def test_ended_sessions_and_removed_clients_stay_ended(auth: FlaskClient) -> None:
    with upgrading(auth) as old:
        student = old.add_user("student1")
        ended = [
            old.add_session(student, "first-party", revoked_at=old.now, revocation_mark=0.0)[1],
            old.add_session(student, "first-party", generation=1)[1],
            old.add_session(student, "first-party", expires_at=old.now - 3600)[1],
            old.add_session(student, "gone")[1],
            old.add_session(old.add_user("teacher1", is_disabled=True), "first-party")[1],
        ]
        gone = old.add_user("deleted", is_disabled=True, deleted_at=old.now, roles=[], password_hash="")
        ended.append(old.add_session(gone, "first-party")[1])
        old.add_client("gone", REPORTS[1], removed_at=old.now)
        old.add_user("admin1", must_change_password=True)

    assert [refresh(auth, token).status_code for token in ended] == [400] * 6
    assert is_set(auth, f"{ISSUER}/.well-known/status-list/{LIST}", 1)
    form = {"grant_type": "client_credentials"}
    assert auth.post("/token", data=form, auth=("gone", REPORTS[1])).status_code == 401
    assert "was removed" in run_command(auth, "clients", "add", "gone").stderr
    form = {"username": "teacher1", "password": "password123"}
    assert auth.post("/token", data=form).status_code == 400
    assert log_in(auth, "admin1", password="password123")["password_change_required"] is True


def test_users_have_no_profile_and_the_first_party_client_exists(auth: FlaskClient) -> None:
    with upgrading(auth) as old:
        old.add_user("student1")
        old.add_client(*REPORTS)

    user = find_user(auth, "student1")
    assert (user.name, user.email, user.email_verified, user.updated_at) == (None, None, False, None)
    assert (user.version, user.session_generation) == (3, 2)
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        clients = {client.id: client for client in session.scalars(sa.select(Client))}
    assert clients.keys() == {"first-party", "reports"}
    first, reports = clients["first-party"], clients["reports"]
    assert (first.auth_method, sorted(first.grant_types)) == ("none", ["password", "refresh_token"])
    assert reports.auth_method == "client_secret"
    assert sorted(reports.grant_types) == ["client_credentials", "password", "refresh_token"]
    assert (reports.redirect_uris, reports.jwks, reports.always_refresh) == ([], None, False)
    result = run_command(auth, "users", "set", "student1", "--name", "Ann", "--email", "ann@example.com")
    assert result.exit_code == 0
