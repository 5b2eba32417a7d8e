"""Alembic's entry point; the connection comes from auditor.db.session."""

from alembic import context

from auditor.db.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
