"""Reads stored audits as records: one row for lists, everything about one audit for its page."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from sqlalchemy import Engine, FromClause, Row, Select, func, select
from sqlalchemy.orm import Session, aliased, joinedload, load_only, selectinload

from auditor.db import models as tables
from auditor.db.base import iso
from auditor.db.certificates import certificate_record
from auditor.db.codec import (
    null_to_nan,
    place_numbers,
    unpack_bits,
    unpack_indices,
    unpack_matrix,
    unpack_numbers,
    unpack_pictures,
)
from auditor.db.corruptions import corruption_score
from auditor.db.curves import curve_record
from auditor.db.filters import OF_CERTIFICATE, Cursor, Filter, check_filter, find_ids, has_id, order_by, select_ids
from auditor.db.mismatches import claims_of, mismatches
from auditor.db.published import PUBLISHED, published_record
from auditor.errors import NotFoundError
from auditor.records import STOPPED_SAMPLES, AttackScore, Clustering, ClusteringScores, Published, Verdicts, ZooEntry
from auditor.records.certificates import Certificate
from auditor.records.corruptions import CorruptionScore
from auditor.records.curves import Curve
from auditor.records.entries import read_stored_entry
from auditor.records.matrices import GAP_FIELDS
from auditor.records.results import ResultRow
from auditor.records.screening import Screening
from auditor.records.targeted import TargetedScore

__all__ = ["Detail", "Filter", "count_audits", "list_results", "load_detail", "load_verdicts"]

ALL = 2**31 - 1
"""A limit that no list reaches."""
LARGEST_PAGE = 5000
"""So many rows are found by their ids before they are read; longer lists are one statement."""
_OTHER_GAPS = {kind: name for kind, name in GAP_FIELDS.items() if kind != "weights"}
_NAMES = [field.name for field in fields(ResultRow)]
_OF_AUDIT = [name for name in _NAMES if name in tables.Audit.__table__.columns]
_OF_CLUSTERING = [name for name in _NAMES if name in tables.Clustering.__table__.columns and name not in _OF_AUDIT]
_OF_SCREENING = [name for name in _NAMES if name in tables.Screening.__table__.columns]
_OF_CERTIFICATE = [name for name in _NAMES if name in OF_CERTIFICATE]
_OF_MODEL = ("status", "model", "source", "training", "architecture")
_COLUMNS = (*_OF_AUDIT, *_OF_CLUSTERING, *_OF_SCREENING, *_OF_CERTIFICATE, *_OTHER_GAPS.values(), *_OF_MODEL)
"""The fields of a result row that a query reads; ``status`` is the state of the audit."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Everything that is stored about one audit, but for the pictures of its templates.

    ``adversarials``: the path of its file of adversarial images, on the machine that ran the audit.
    """

    row: ResultRow
    description: str
    training: dict[str, Any]
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    clusterings: dict[str, Clustering]
    attacks: tuple[AttackScore, ...]
    verdicts: Verdicts | None
    targeted: TargetedScore | None
    screening: Screening | None
    published: Published | None
    adversarials: str | None = None
    certificate: Certificate | None = None
    corruptions: tuple[CorruptionScore, ...] = ()
    curve: Curve | None = None


def list_results(
    engine: Engine, filter: Filter, *, sort: str = "-robust_accuracy", limit: int | None = None
) -> list[ResultRow]:
    """Load result rows; without ``scan`` and ``history`` the newest of each model, data set, protocol and setting.

    ``sort`` is a column, with ``-`` in front for the largest first; rows without a value come last.

    Raises:
        UsageError: the column or the state does not exist.
    """
    check_filter(filter, sort)
    with Session(engine) as session:
        if filter.flagged is None:
            return _rows(session, filter, sort, limit)
        first_page = LARGEST_PAGE if limit is None else min(2 * limit, LARGEST_PAGE)
        return list(islice(_flagged_rows(session, filter, sort, first_page), limit))


def _rows(session: Session, filter: Filter, sort: str, limit: int | None) -> list[ResultRow]:
    return [_row(found) for found in session.execute(_query(session, filter, sort, limit))]


def _flagged_rows(session: Session, filter: Filter, sort: str, size: int) -> Iterator[ResultRow]:
    """The rows with flags, or without, page by page, because published figures that are newer than an audit flag it."""
    column = sort.removeprefix("-")
    while rows := _rows(session, filter, sort, size):
        yield from (row for row in rows if bool(row.flags) == filter.flagged)
        if len(rows) < size:
            return
        filter = replace(filter, after=Cursor(getattr(rows[-1], column), rows[-1].id))
        size = min(2 * size, LARGEST_PAGE)


def list_ids(engine: Engine, filter: Filter, sort: str) -> list[int]:
    """The ids of the matching audits in the order of :func:`list_results`, without loading them.

    ``filter.flagged`` is not applied, because flags depend on published figures.
    """
    check_filter(filter, sort)
    with Session(engine) as session:
        return find_ids(session, filter, sort, ALL)


def count_audits(engine: Engine) -> int:
    """The number of audits in any state."""
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(tables.Audit)) or 0


def load_detail(engine: Engine, audit_id: int) -> Detail:
    """Load everything about one audit, by the ``id`` of its row.

    Raises:
        NotFoundError: the audit does not exist.
    """
    audit = tables.Audit
    query = (
        select(audit)
        .where(audit.id == audit_id)
        .options(
            load_only(audit.classes, audit.superclasses, audit.targeted, audit.adversarials),
            joinedload(audit.model).load_only(tables.Model.description, tables.Model.training),
            selectinload(audit.clusterings),
            selectinload(audit.attacks),
            selectinload(audit.verdicts),
            selectinload(audit.screening),
            selectinload(audit.certificate),
            selectinload(audit.corruptions),
            selectinload(audit.curve),
        )
    )
    with Session(engine) as session:
        rows = session.execute(_query(session, Filter(id=audit_id, history=True), "model", None)).all()
        if not rows:
            raise NotFoundError(f"there is no result {audit_id}")
        found = session.scalars(query).one()
        published = session.get(tables.Published, rows[0].name)
        clusterings = {row.kind: _clustering(row) for row in found.clusterings}
        gap = next((row.gap for row in found.clusterings if row.kind == "weights"), None)
        return Detail(
            row=_row(rows[0]),
            description=found.model.description,
            training=found.model.training,
            classes=tuple(found.classes),
            superclasses=tuple(found.superclasses),
            clusterings=clusterings,
            attacks=tuple(_attack(row) for row in found.attacks),
            verdicts=_verdicts(found.verdicts) if found.verdicts else None,
            targeted=None if found.targeted is None else TargetedScore(**found.targeted),
            screening=_screening(found.screening, gap) if found.screening else None,
            published=published_record(published) if published else None,
            adversarials=found.adversarials,
            certificate=certificate_record(found.certificate) if found.certificate else None,
            corruptions=tuple(corruption_score(row) for row in found.corruptions),
            curve=curve_record(found.curve) if found.curve else None,
        )


def load_entry(engine: Engine, audit_id: int) -> ZooEntry | None:
    """Load the zoo entry of an audit; None if an older auditor stored the audit.

    Raises:
        UsageError: another version of auditor wrote the entry.
    """
    with Session(engine) as session:
        stored = session.scalar(select(tables.Audit.entry).where(tables.Audit.id == audit_id))
    return None if stored is None else read_stored_entry(stored)


def load_verdicts(engine: Engine, audit_id: int) -> Verdicts | None:
    """Load an audit's verdicts by sample; None if it has none."""
    with Session(engine) as session:
        found = session.get(tables.Verdicts, audit_id)
        return _verdicts(found) if found else None


def _query(session: Session, filter: Filter, sort: str, limit: int | None) -> Select[*tuple[Any, ...]]:
    """The columns of result rows in the order of ``_COLUMNS``, and then those of published figures.

    Audits with their model, its published figures, C's scores, the screening, and the gaps of other matrices. Columns,
    not objects of the ORM, which take several times as long. The ids come first, because PostgreSQL keeps the order of
    more than eight joins.
    """
    audit, model, screening, published = tables.Audit, tables.Model, tables.Screening, tables.Published
    columns, weights, others = _columns()
    if limit is not None and limit <= LARGEST_PAGE:
        ids: FromClause = select(audit.id).where(has_id(find_ids(session, filter, sort, limit))).subquery()
    else:
        ids = select_ids(session, filter, sort).subquery()
    query: Select[*tuple[Any, ...]] = (
        select(*columns)
        .select_from(ids)
        .join(audit, audit.id == ids.c.id)
        .join(model, model.id == audit.model_id)
        .outerjoin(published, published.model == model.name)
        .outerjoin(screening, screening.audit_id == audit.id)
        .outerjoin(tables.Certificate, tables.Certificate.audit_id == audit.id)
    )
    for kind, other in zip(("weights", *_OTHER_GAPS), (weights, *others), strict=True):
        query = query.outerjoin(other, (other.audit_id == audit.id) & (other.kind == kind))
    query = query.order_by(*order_by(session, sort, weights))
    return query if limit is None or limit <= LARGEST_PAGE else query.limit(limit)


@functools.cache
def _columns() -> tuple[list[Any], Any, list[Any]]:
    """The columns of :func:`_query`, and the aliases of the clusterings of the weights and of other matrices."""
    audit, model, screening, published = tables.Audit, tables.Model, tables.Screening, tables.Published
    weights, others = aliased(tables.Clustering), [aliased(tables.Clustering) for _ in _OTHER_GAPS]
    columns = [
        *(getattr(audit, name) for name in _OF_AUDIT),
        *(getattr(weights, name) for name in _OF_CLUSTERING),
        *(getattr(screening, name) for name in _OF_SCREENING),
        *(getattr(tables.Certificate, name) for name in _OF_CERTIFICATE),
        *(other.gap for other in others),
        *(audit.state, model.name, model.source, model.training, model.architecture),
        *(getattr(published, name).label(f"published_{name}") for name in PUBLISHED),
    ]
    return columns, weights, others


def _row(found: Row[Any]) -> ResultRow:
    """A row of :func:`_query` as a record."""
    values: dict[str, Any] = dict(zip(_COLUMNS, found, strict=False))
    figures = dict(zip(PUBLISHED, found[len(_COLUMNS) :], strict=True))
    published = None if figures["model"] is None else Published(**figures)
    claims = claims_of(found, published)
    if values["samples"] == STOPPED_SAMPLES:
        values["samples"] = values["n"]
    values |= {
        "architecture": values["architecture"].get("name"),
        "flags": [*values["flags"], *mismatches(found, claims)],
        "started_at": iso(values["started_at"]),
        "finished_at": iso(values["finished_at"]),
    }
    return ResultRow(
        **values,
        correlation="exact" if values["sketch"] is None else "sketch",
        claimed_clean_accuracy=claims.clean_accuracy,
        claimed_robust_accuracy=claims.robust_accuracy,
        claimed_unreliable=claims.unreliable,
    )


def _clustering(row: tables.Clustering) -> Clustering:
    names = [field.name for field in fields(ClusteringScores) if field.name not in ("leaf_order", "reasons")]
    scores = ClusteringScores(
        **{name: null_to_nan(getattr(row, name)) for name in names},
        leaf_order=tuple(row.leaf_order),
        reasons=row.reasons,
    )
    matrix = None if row.matrix is None else unpack_matrix(row.matrix, row.size)
    return Clustering(kind=row.kind, scores=scores, matrix=matrix)


def _screening(row: tables.Screening, gap: float | None) -> Screening:
    return Screening(
        score=null_to_nan(row.screen_score),
        margin=null_to_nan(row.margin),
        local_gap=null_to_nan(row.local_gap),
        gap=null_to_nan(gap),
        data_margin=null_to_nan(row.data_margin),
        statistics={name: null_to_nan(value) for name, value in row.statistics.items()},
        findings=tuple(row.findings),
        reasons=row.reasons,
    )


def _attack(row: tables.AttackScore) -> AttackScore:
    return AttackScore(**{field.name: getattr(row, field.name) for field in fields(AttackScore)})


def _verdicts(row: tables.Verdicts) -> Verdicts:
    verdicts = Verdicts(
        indices=unpack_indices(row.indices),
        correct=unpack_bits(row.correct, row.n),
        survived=unpack_bits(row.survived, row.n),
        pictures=None if row.pictures is None else unpack_pictures(row.pictures),
    )
    if row.labels is None:
        return verdicts
    if row.predicted is None or row.broken_at is None:  # no attack ran
        return replace(verdicts, labels=unpack_numbers(row.labels))
    labels, broken = unpack_numbers(row.labels), verdicts.correct & ~verdicts.survived
    return replace(
        verdicts,
        labels=labels,
        predicted=place_numbers(labels, ~verdicts.survived, row.predicted),
        broken_at=place_numbers(-1 + 0 * labels, broken, row.broken_at),
    )
