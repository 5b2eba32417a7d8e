"""The HTTP API, version 1: one file a noun."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from auditor.web.access import may_read
from auditor.web.api import boosts, checkpoints, models, results, scans, schedules

router = APIRouter(prefix="/api/v1", dependencies=[Depends(may_read)])
for part in (models, results, scans, boosts, checkpoints, schedules):
    router.include_router(part.router)


@router.get("/openapi.json", include_in_schema=False)
def description(request: Request) -> JSONResponse:
    """The description of this API; of a closed server for who may read."""
    return JSONResponse(request.app.openapi())
