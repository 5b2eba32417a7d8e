"""Routes of models: list the models of all scans, and show one with its newest results."""

from typing import Annotated, Any

from fastapi import Path, Query

from auditor.db.results import Filter, list_results
from auditor.db.zoo import list_models, load_model
from auditor.web.api.common import Cursor, Database, FiniteJSONResponse, Name, make_router, response_options
from auditor.web.paging import decode_name_cursor, encode_name_cursor, split_page
from auditor.web.shapes import results as shapes

router = make_router("models")


@router.get("/models", **response_options(shapes.Models))
def get_models(
    engine: Database,
    source: Name = None,
    dataset: Name = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Cursor = None,
) -> FiniteJSONResponse:
    """List models by name, each with its number of audits. `next` is the cursor of the next page."""
    read = list_models(engine, source=source, dataset=dataset, after=decode_name_cursor(cursor), limit=limit + 1)
    rows, following = split_page(read, limit, lambda row: encode_name_cursor(row["model"]))
    return FiniteJSONResponse({"models": rows, "next": following})


@router.get("/models/{name:path}", **response_options(shapes.ModelDetail))
def get_model(engine: Database, name: Annotated[str, Path(max_length=200)]) -> dict[str, Any]:
    """Return one model by its full name, with its newest result for each data set, protocol and setting."""
    return load_model(engine, name) | {"results": list_results(engine, Filter(model=name), sort="-started_at")}
