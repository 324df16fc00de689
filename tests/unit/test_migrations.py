"""Migrations produce the models' tables, and can be undone, on both databases."""

import flask_migrate
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask.testing import FlaskClient

from auth_app.models import Client, Session, User
from flask_resource_server.tokens.status_list import read_reference
from tests.conftest import both_databases, log_in, read_claims

pytestmark = both_databases


def test_migrated_tables_match_the_models(service: FlaskClient) -> None:
    with service.application.app_context():
        database = service.application.extensions["sqlalchemy"]
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, database.metadata) == []


def test_migrations_downgrade_to_nothing_and_upgrade_again(service: FlaskClient) -> None:
    with service.application.app_context():
        engine = service.application.extensions["sqlalchemy"].engine
        tables = set(sa.inspect(engine).get_table_names())
        flask_migrate.downgrade(revision="base")
        assert sa.inspect(engine).get_table_names() == ["alembic_version"]
        flask_migrate.upgrade()
        assert set(sa.inspect(engine).get_table_names()) == tables


def test_sessions_from_before_status_lists_get_indexes_and_stay_valid(auth: FlaskClient) -> None:
    answers = [log_in(auth) for _ in range(3)]
    with auth.application.app_context():
        flask_migrate.downgrade(revision="0002")
        flask_migrate.upgrade()

    references = set()
    for answer in answers:
        form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        renewed = auth.post("/token", data=form)
        assert renewed.status_code == 200
        references.add(read_reference(read_claims(renewed.get_json()["access_token"])))
    assert len(references) == 3
    (old_list,) = {uri for uri, _ in references}
    assert read_reference(read_claims(log_in(auth)["access_token"]))[0] != old_list, (
        "the migrated list is closed to new sessions"
    )


def test_demo_data_is_added_once(service: FlaskClient) -> None:
    counts = []
    for _ in range(2):
        result = service.application.test_cli_runner().invoke(args=["demo-data"])
        assert result.exit_code == 0
        with service.application.app_context():
            database = service.application.extensions["sqlalchemy"]
            table = database.metadata.tables.get("users", database.metadata.tables.get("courses"))
            counts.append(database.session.scalar(sa.select(sa.func.count()).select_from(table)))

    assert counts[0] == counts[1] > 0


def test_new_database_has_no_users_clients_or_sessions(auth: FlaskClient) -> None:
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
        flask_migrate.downgrade(revision="base")
        flask_migrate.upgrade()
        with engine.connect() as connection:
            for table in (User, Client, Session):
                assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
