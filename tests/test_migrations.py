"""Migrations lead to the tables of the models, forwards and backwards, on both databases."""

import flask_migrate
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask.testing import FlaskClient

from tests.conftest import both_databases

pytestmark = both_databases


def test_migrated_tables_are_those_of_the_models(service: FlaskClient) -> None:
    with service.application.app_context():
        database = service.application.extensions["sqlalchemy"]
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, database.metadata) == []


def test_migrations_run_backwards_and_forwards(service: FlaskClient) -> None:
    with service.application.app_context():
        engine = service.application.extensions["sqlalchemy"].engine
        tables = set(sa.inspect(engine).get_table_names())
        flask_migrate.downgrade(revision="base")
        assert sa.inspect(engine).get_table_names() == ["alembic_version"]
        flask_migrate.upgrade()
        assert set(sa.inspect(engine).get_table_names()) == tables


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
