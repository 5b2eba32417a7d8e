"""The route for load balancers and orchestrators: whether the server and its database respond."""

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text

from auditor.web.api.common import ERROR_RESPONSES, Database, response_options
from auditor.web.shapes import jobs as shapes

router = APIRouter(tags=["health"], responses={503: ERROR_RESPONSES[503]})


@router.get("/health", **response_options(shapes.Health))
def get_health(request: Request, engine: Database) -> dict[str, Any]:
    """Say that the server and its database respond; 503 if the database does not. It needs no token."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok", "version": request.app.version}
