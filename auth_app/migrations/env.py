"""Run the Alembic migrations on the application's database connection."""

from alembic import context
from flask import current_app
from sqlalchemy import text

extension = current_app.extensions["migrate"]

with extension.db.engine.connect() as connection:
    context.configure(connection=connection, target_metadata=extension.metadata, **extension.configure_args)
    if connection.dialect.name == "postgresql":  # a migration may take longer than a request
        connection.execute(text("SET statement_timeout = 0"))
        connection.commit()
    else:  # SQLite alters a table by replacing it, while rows of other tables refer to it
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    with context.begin_transaction():
        context.run_migrations()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
