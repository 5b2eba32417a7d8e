"""A server of the test's own database, in this process."""

from fastapi.testclient import TestClient

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.tokens import add_token
from auditor.web.app import create_app


def client(**options: object) -> TestClient:
    """Raises nothing: a crash is a 500, as clients see it. Use it as a context to have its scans ended."""
    app = create_app(open_database(settings().database_url), **options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def token(scope: str, name: str = "", days: float | None = None) -> dict[str, str]:
    """The header of a new token."""
    return {"Authorization": f"Bearer {add_token(open_database(settings().database_url), name or scope, scope, days)}"}
