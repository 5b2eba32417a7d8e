"""The HTTP API, version 1: one file per kind of object."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from auditor.web.api import adaptations, boosts, checkpoints, health, models, results, scans, schedules, workers
from auditor.web.security.access import check_read_access

guarded = APIRouter(dependencies=[Depends(check_read_access)])
for module in (models, results, scans, boosts, adaptations, checkpoints, schedules, workers):
    guarded.include_router(module.router)


@guarded.get("/openapi.json", include_in_schema=False)
def get_openapi(request: Request) -> JSONResponse:
    """Return the OpenAPI description; a closed server needs a token here, too."""
    return JSONResponse(request.app.openapi())


router = APIRouter(prefix="/api/v1")
router.include_router(guarded)
router.include_router(health.router)
