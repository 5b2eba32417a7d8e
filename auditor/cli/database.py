"""What is stored, and the audit that a name on the command line means."""

from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.results import Detail, load_detail
from auditor.db.session import open_database
from auditor.results.lookup import find_rows


def open_settings() -> Engine:
    """The database of the settings."""
    return open_database(settings().database_url)


def find_detail(model: str, protocol: str | None, audit_id: int | None) -> Detail:
    """The stored audit that a name means, whole.

    Raises:
        UsageError: as :func:`find_rows`.
    """
    engine = open_settings()
    return load_detail(engine, find_rows(engine, model, protocol, audit_id)[0].id)
