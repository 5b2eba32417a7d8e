"""Results: listed as the command line lists them, one whole, its matrices."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from auditor.db.filters import SORTABLE
from auditor.db.results import Detail, Filter, list_results, load_detail
from auditor.records import Clustering
from auditor.results.comparison import compare
from auditor.results.serialize import as_dict
from auditor.web.api.common import PROBLEMS, Database, Json, Name, Number, answers
from auditor.web.errors import PageNotFoundError
from auditor.web.figures.heatmap import png
from auditor.web.paging import cursor_after, read_cursor
from auditor.web.shapes import results as shapes

router = APIRouter(tags=["results"], responses=PROBLEMS, default_response_class=Json)
Kind = Literal["weights", "centred", "deflated", "features"]
Sort = Literal[tuple(name for column in SORTABLE for name in (column, f"-{column}"))]  # type: ignore[valid-type]


def chosen(
    scan: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    model: Name = None,
    match: Name = None,
    source: Name = None,
    dataset: Name = None,
    protocol: Literal["screen", "quick", "standard", "full"] | None = None,
    linearization: Literal["remove", "fold"] | None = None,
    correlation: Literal["exact", "sketch"] | None = None,
    status: Literal["done", "failed", "cancelled", "queued", "running"] | None = None,
    flagged: bool | None = None,
    history: bool = False,
) -> dict[str, Any]:
    """The filters of ``auditor results list``."""
    return {
        "scan": scan, "model": model, "match": match, "source": source, "dataset": dataset, "protocol": protocol,
        "linearization": linearization, "correlation": correlation, "status": status, "flagged": flagged,
        "history": history,
    }  # fmt: skip


Chosen = Annotated[dict[str, Any], Depends(chosen)]


Limit = Annotated[int, Query(ge=1, le=500)]
After = Annotated[str | None, Query(max_length=1000)]


@router.get("/results", **answers(shapes.Results))
def list_(
    engine: Database,
    filters: Chosen,
    sort: Sort = "-robust_accuracy",  # type: ignore[valid-type]
    limit: Limit = 100,
    cursor: After = None,
) -> dict[str, Any]:
    """The newest result of each model, data set, protocol and setting; ``next`` is the cursor of the page behind."""
    asked = Filter(**filters, after=read_cursor(cursor, sort))
    rows = list_results(engine, asked, sort=sort, limit=limit + 1)
    more = cursor_after(rows[limit - 1], sort) if len(rows) > limit else None
    return {"results": rows[:limit], "next": more}


@router.get("/audits", **answers(shapes.Results))
def audits(
    engine: Database,
    filters: Chosen,
    sort: Sort = "-started_at",  # type: ignore[valid-type]
    limit: Limit = 100,
    cursor: After = None,
) -> dict[str, Any]:
    """Every audit, older ones too, the newest first: as ``/results`` with ``history``. One whole: ``/results/ID``."""
    return list_(engine, filters | {"history": True}, sort, limit, cursor)


@router.get("/results/{number}", **answers(shapes.ResultDetail))
def show(engine: Database, number: Number) -> dict[str, Any]:
    """One result whole: attacks, scores, matrices, verdicts by sample."""
    return as_dict(find(engine, number))


@router.get("/results/{number}/matrices/{kind}", **answers(shapes.MatrixShown))
def matrix(engine: Database, number: Number, kind: Kind) -> dict[str, Any]:
    """C or F with the names of its classes, and the order of the dendrogram's leaves."""
    detail = find(engine, number)
    part = _part(detail, kind)
    return {
        "kind": kind,
        "classes": list(detail.classes),
        "superclasses": list(detail.superclasses),
        "leaf_order": list(part.scores.leaf_order),
        "matrix": part.full_matrix().tolist(),
    }


@router.get("/results/{number}/matrices/{kind}/picture", response_class=Response)
def picture(engine: Database, number: Number, kind: Kind) -> Response:
    """The matrix as PNG, in its own order, a pixel an entry up to 500 on a side."""
    return Response(png(_part(find(engine, number), kind).full_matrix(), kind != "features"), media_type="image/png")


@router.get("/comparison", **answers(shapes.Comparison))
def comparison(
    engine: Database,
    a: Annotated[str, Query(max_length=200)],
    b: Annotated[str, Query(max_length=200)],
    protocol: Literal["screen", "quick", "standard", "full"] | None = None,
) -> dict[str, Any]:
    """The paired test of ``auditor results compare``: ``a`` and ``b`` are models, or ``NAME@ID``."""
    return compare(engine, a, b, protocol)


def find(engine: Database, number: int) -> Detail:
    """Raises PageNotFoundError where there is no such result that is done."""
    if not list_results(engine, Filter(id=number, status="done", history=True)):
        raise PageNotFoundError(f"there is no result {number}")
    return load_detail(engine, number)


def _part(detail: Detail, kind: str) -> Clustering:
    part = detail.clusterings.get(kind)
    if part is None or part.matrix is None:
        raise PageNotFoundError(f"result {detail.row['id']} has no matrix {kind}: not measurable, or pruned")
    return part
