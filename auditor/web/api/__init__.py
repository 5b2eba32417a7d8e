"""The HTTP API, version 1: one file a noun."""

from fastapi import APIRouter, Depends

from auditor.web.access import may_read
from auditor.web.api import boosts, checkpoints, models, results, scans, schedules

router = APIRouter(prefix="/api/v1", dependencies=[Depends(may_read)])
for part in (models, results, scans, boosts, checkpoints, schedules):
    router.include_router(part.router)
