"""Models: all that scans have met, and one with its newest results."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from auditor.db.results import Filter, list_results
from auditor.db.zoo import list_models, load_model
from auditor.results.serialize import serialize_row
from auditor.web.api.common import PROBLEMS, Database, Json, Name, answers
from auditor.web.errors import PageNotFoundError
from auditor.web.paging import name_after, read_name
from auditor.web.shapes import results as shapes

router = APIRouter(tags=["models"], responses=PROBLEMS, default_response_class=Json)


@router.get("/models", **answers(shapes.Models))
def list_(
    engine: Database,
    source: Name = None,
    dataset: Name = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> dict[str, Any]:
    """Models by name, each with how many audits there are of it; ``next`` is the cursor of the page behind."""
    rows = list_models(engine, source=source, dataset=dataset, after=read_name(cursor), limit=limit + 1)
    return {"models": rows[:limit], "next": name_after(rows[limit - 1]["model"]) if len(rows) > limit else None}


@router.get("/models/{name:path}", **answers(shapes.ModelDetail))
def show(engine: Database, name: Annotated[str, Path(max_length=200)]) -> dict[str, Any]:
    """One model by its full name, with the newest result of each data set, protocol and setting."""
    found = load_model(engine, name)
    if found is None:
        raise PageNotFoundError(f"there is no model {name!r}")
    rows = list_results(engine, Filter(model=name), sort="-started_at")
    return found | {"results": [serialize_row(row) for row in rows]}
