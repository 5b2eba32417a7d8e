"""The pages, rendered on the server: one file per page or group of pages, and a typed context per page."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from auditor.web.pages import (
    api_reference,
    audits,
    boosts,
    compare,
    help,
    leaderboard,
    scans,
    schedules,
    sign_in,
    zoo,
)

router = APIRouter(include_in_schema=False)
for module in (leaderboard, zoo, audits, compare, scans, boosts, schedules, api_reference, help, sign_in):
    for route in module.router.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")  # for monitoring
    router.include_router(module.router)
