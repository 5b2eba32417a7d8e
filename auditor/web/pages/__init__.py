"""The pages: one file a page, a typed context each, drawn on the server."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from auditor.web.pages import audits, boosts, compare, leaderboard, scans, schedules, sign_in, zoo

router = APIRouter(include_in_schema=False)
for part in (leaderboard, zoo, audits, compare, scans, boosts, schedules, sign_in):
    for route in part.router.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")  # as monitors ask
    router.include_router(part.router)
