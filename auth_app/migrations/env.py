"""Run Alembic's migrations on the application's own connection."""

from alembic import context
from flask import current_app

extension = current_app.extensions["migrate"]

with extension.db.engine.connect() as connection:
    context.configure(connection=connection, target_metadata=extension.metadata, **extension.configure_args)
    with context.begin_transaction():
        context.run_migrations()
