"""Alembic's entry point; the connection comes from auditor.db.session."""

from alembic import context

from auditor.db import indices  # noqa: F401, all that there is
from auditor.db.base import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
