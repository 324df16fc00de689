"""Run Alembic's migrations on the application's own connection."""

from alembic import context
from flask import current_app
from sqlalchemy import text

extension = current_app.extensions["migrate"]

with extension.db.engine.connect() as connection:
    context.configure(connection=connection, target_metadata=extension.metadata, **extension.configure_args)
    if connection.dialect.name == "postgresql":  # migrations may take longer than the limit for requests
        connection.execute(text("SET statement_timeout = 0"))
        connection.commit()
    else:  # SQLite migrations recreate tables, and rows of other tables may refer to the old one
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    with context.begin_transaction():
        context.run_migrations()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
