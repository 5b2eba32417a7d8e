"""Routes of results: list as the command line does, show one in full, its matrices, and compare two."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from fastapi.responses import Response

from auditor.db.filters import SORTABLE
from auditor.db.results import Detail, Filter, list_results, load_detail
from auditor.errors import NotFoundError, UsageError
from auditor.records import Clustering
from auditor.records.corruptions import CorruptionsName
from auditor.records.norms import NormName
from auditor.records.protocols import ProtocolName
from auditor.results.comparison import compare, comparison_values
from auditor.results.curves import curve_values
from auditor.results.serialize import serialize_detail
from auditor.text.times import as_utc
from auditor.web.api.common import Cursor, Database, FiniteJSONResponse, Name, Number, make_router, response_options
from auditor.web.errors import as_invalid_request
from auditor.web.figures.heatmap import MOST_PIXELS, png
from auditor.web.paging import decode_cursor, encode_cursor, split_page
from auditor.web.shapes import results as shapes

router = make_router("results")
Measured = Literal[NormName, CorruptionsName]
"""One Literal, not a union of two: an error of a union names each of its members instead of the parameter."""
Kind = Literal["weights", "centred", "deflated", "features"]
Sort = Literal[tuple(name for column in SORTABLE for name in (column, f"-{column}"))]  # type: ignore[valid-type]


def read_filters(
    scan: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    model: Name = None,
    match: Name = None,
    source: Name = None,
    dataset: Name = None,
    protocol: ProtocolName | None = None,
    norm: Measured | None = None,
    eps: Annotated[
        float | None, Query(gt=0, le=1000, description="Radii that differ by less than a thousandth are equal.")
    ] = None,
    architecture: Annotated[
        Name, Query(max_length=200, description="A part of the architecture's description.")
    ] = None,
    training: Annotated[Name, Query(max_length=200, description="A part of the training's description.")] = None,
    since: Annotated[datetime | None, Query(description="Audits that started at this time or later.")] = None,
    until: Annotated[datetime | None, Query(description="Audits that started before this time.")] = None,
    linearization: Literal["remove", "fold"] | None = None,
    correlation: Literal["exact", "sketch"] | None = None,
    status: Literal["done", "failed", "cancelled", "queued", "running"] | None = None,
    flagged: bool | None = None,
    history: bool = False,
) -> dict[str, Any]:
    """Read the filters of ``auditor results list`` from the query."""
    return {
        "scan": scan, "model": model, "match": match, "source": source, "dataset": dataset, "protocol": protocol,
        "norm": norm, "eps": eps, "architecture": architecture, "training": training,
        "since": _utc("since", since), "until": _utc("until", until), "linearization": linearization,
        "correlation": correlation, "status": status, "flagged": flagged, "history": history,
    }  # fmt: skip


def _utc(name: str, time: datetime | None) -> datetime | None:
    try:
        return None if time is None else as_utc(time)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


Filters = Annotated[dict[str, Any], Depends(read_filters)]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/results", **response_options(shapes.Results))
def get_results(
    engine: Database,
    filters: Filters,
    sort: Sort = "-robust_accuracy",  # type: ignore[valid-type]
    limit: Limit = 100,
    cursor: Cursor = None,
) -> FiniteJSONResponse:
    """List the newest result of each model, data set, protocol and setting. `next` is the cursor of the next page."""
    selected = Filter(**filters, after=decode_cursor(cursor, sort))
    read = list_results(engine, selected, sort=sort, limit=limit + 1)
    rows, following = split_page(read, limit, lambda row: encode_cursor(row, sort))
    return FiniteJSONResponse({"results": rows, "next": following})


@router.get("/audits", **response_options(shapes.Results))
def get_audits(
    engine: Database,
    filters: Filters,
    sort: Sort = "-started_at",  # type: ignore[valid-type]
    limit: Limit = 100,
    cursor: Cursor = None,
) -> FiniteJSONResponse:
    """List every audit, the newest first, like `/results` with `history`. `/results/ID` shows one in full."""
    return get_results(engine, filters | {"history": True}, sort, limit, cursor)


@router.get("/results/{number}", **response_options(shapes.ResultDetail))
def get_result(engine: Database, number: Number) -> FiniteJSONResponse:
    """Return one result in full: attacks, scores, matrices and the verdict on each sample."""
    return FiniteJSONResponse(serialize_detail(load_result(engine, number)))


@router.get("/results/{number}/matrices/{kind}", **response_options(shapes.MatrixShown))
def get_matrix(engine: Database, number: Number, kind: Kind) -> dict[str, Any]:
    """Return C or F, the names of the classes, and the leaf order of the dendrogram."""
    detail = load_result(engine, number)
    part = _clustering(detail, kind)
    return {
        "kind": kind,
        "classes": list(detail.classes),
        "superclasses": list(detail.superclasses),
        "leaf_order": list(part.scores.leaf_order),
        "matrix": part.full_matrix().tolist(),
    }


@router.get("/results/{number}/matrices/{kind}/picture", response_class=Response)
def get_matrix_picture(engine: Database, number: Number, kind: Kind) -> Response:
    """Return the matrix as a PNG in class order, about 500 pixels per side; equal squares are the entries.

    Of more than 500 classes, neighbours are averaged.
    """
    matrix = _clustering(load_result(engine, number), kind).full_matrix()
    if not len(matrix):
        raise NotFoundError(f"matrix {kind} of result {number} has no entries: the audit has no classes")
    return Response(png(matrix, kind != "features", least=MOST_PIXELS), media_type="image/png")


@router.get("/audits/{number}/curve", **response_options(shapes.Curve))
def get_curve(engine: Database, number: Number) -> FiniteJSONResponse:
    """Return the robust accuracy at every radius, its band and summary, and the size for each sample."""
    detail = load_result(engine, number)
    if detail.curve is None:
        raise NotFoundError(f"result {number} has no curve: scan with curve to measure one")
    return FiniteJSONResponse(curve_values(detail.curve, detail.row.eps))


@router.get("/comparison", **response_options(shapes.Comparison))
def get_comparison(
    engine: Database,
    a: Annotated[str, Query(max_length=200)],
    b: Annotated[str, Query(max_length=200)],
    protocol: ProtocolName | None = None,
) -> dict[str, Any]:
    """Run the paired test of `auditor results compare`. `a` and `b` are model names; `NAME@ID` selects one result."""
    with as_invalid_request(NotFoundError):
        return comparison_values(compare(engine, a, b, protocol))


def load_result(engine: Database, number: int) -> Detail:
    """Load one finished result. Raises NotFoundError for audits without a result, too."""
    if not list_results(engine, Filter(id=number, status="done", history=True)):
        raise NotFoundError(f"there is no result {number}")
    return load_detail(engine, number)


def _clustering(detail: Detail, kind: str) -> Clustering:
    part = detail.clusterings.get(kind)
    if part is None or part.matrix is None:
        raise NotFoundError(f"result {detail.row.id} has no matrix {kind}: it was not measurable, or it was pruned")
    return part
