"""Boosts: listed and shown, epoch by epoch."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Engine

from auditor.db.trainings import list_trainings, load_training
from auditor.errors import UsageError
from auditor.web.api.common import PROBLEMS, Database, Json, Number
from auditor.web.problems import MissingError

router = APIRouter(tags=["boosts"], responses=PROBLEMS, default_response_class=Json)


@router.get("/boosts")
def list_(engine: Database) -> dict[str, Any]:
    """All boosts, the newest first."""
    return {"boosts": list_trainings(engine, kind="boost")}


@router.get("/boosts/{number}")
def show(engine: Database, number: Number) -> dict[str, Any]:
    """One boost, with its epochs as validation saw them."""
    return find(engine, number)


def find(engine: Engine, number: int) -> dict[str, Any]:
    """Raises MissingError where there is no such boost."""
    try:
        found = load_training(engine, number)
    except UsageError as error:
        raise MissingError(f"there is no boost {number}") from error
    if found["kind"] != "boost":
        raise MissingError(f"there is no boost {number}")
    return found
