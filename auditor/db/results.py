"""Reads stored audits as records: one row for lists, everything about one audit for its page."""

from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session, aliased, load_only, selectinload

from auditor.db import models as tables
from auditor.db.base import iso
from auditor.db.claims import claims_of, mismatches
from auditor.db.codec import (
    null_to_nan,
    place_numbers,
    unpack_bits,
    unpack_indices,
    unpack_matrix,
    unpack_numbers,
    unpack_pictures,
)
from auditor.db.filters import Filter, check_filter, order_by, select_ids
from auditor.db.published import published_record
from auditor.records import AttackScore, Clustering, ClusteringScores, Published, Verdicts
from auditor.records.matrices import GAP_FIELDS
from auditor.records.results import ResultRow
from auditor.records.screening import Screening
from auditor.records.targeted import TargetedScore

__all__ = ["Detail", "Filter", "count_audits", "list_results", "load_detail", "load_verdicts"]

ALL = 2**31 - 1
"""A limit that no list reaches."""
_OTHER_GAPS = {kind: name for kind, name in GAP_FIELDS.items() if kind != "weights"}
_NAMES = [field.name for field in fields(ResultRow)]
_OF_AUDIT = [name for name in _NAMES if name in tables.Audit.__table__.columns]
_OF_CLUSTERING = [name for name in _NAMES if name in tables.Clustering.__table__.columns and name not in _OF_AUDIT]
_OF_SCREENING = [name for name in _NAMES if name in tables.Screening.__table__.columns]


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
            return [_row(*found) for found in session.execute(_query(session, filter, sort, limit))]
        # Flags depend on published figures, which may be newer than the audit: computed row by row until the limit.
        query = _query(session, filter, sort, None).execution_options(yield_per=200)
        with session.execute(query) as found:
            rows = (_row(*parts) for parts in found)
            return list(islice((row for row in rows if bool(row.flags) == filter.flagged), limit))


def list_ids(engine: Engine, filter: Filter, sort: str) -> list[int]:
    """The ids of the matching audits in the order of :func:`list_results`, without loading them.

    ``filter.flagged`` is not applied, because flags depend on published figures.
    """
    check_filter(filter, sort)
    with Session(engine) as session:
        return list(session.scalars(select_ids(session, filter, sort, ALL)))


def count_audits(engine: Engine) -> int:
    """The number of audits in any state."""
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(tables.Audit)) or 0


def load_detail(engine: Engine, audit_id: int) -> Detail:
    """Load everything about one audit, by the ``id`` of its row."""
    audit, model = tables.Audit, tables.Model
    query = (
        select(audit, model, tables.Published)
        .join(model, model.id == audit.model_id)
        .outerjoin(tables.Published, tables.Published.model == model.name)
        .where(audit.id == audit_id)
        .options(
            selectinload(audit.clusterings),
            selectinload(audit.attacks),
            selectinload(audit.verdicts),
            selectinload(audit.screening),
        )
    )
    with Session(engine) as session:
        found, its_model, published = session.execute(query).one()
        clusterings = {row.kind: _clustering(row) for row in found.clusterings}
        gaps = {row.kind: row.gap for row in found.clusterings}
        weights = next((row for row in found.clusterings if row.kind == "weights"), None)
        return Detail(
            row=_row(found, its_model, published, weights, found.screening, *(gaps.get(kind) for kind in _OTHER_GAPS)),
            description=its_model.description,
            training=its_model.training,
            classes=tuple(found.classes),
            superclasses=tuple(found.superclasses),
            clusterings=clusterings,
            attacks=tuple(_attack(row) for row in found.attacks),
            verdicts=_verdicts(found.verdicts) if found.verdicts else None,
            targeted=None if found.targeted is None else TargetedScore(**found.targeted),
            screening=_screening(found.screening, gaps.get("weights")) if found.screening else None,
            published=published_record(published) if published else None,
            adversarials=found.adversarials,
        )


def load_verdicts(engine: Engine, audit_id: int) -> Verdicts | None:
    """Load an audit's verdicts by sample; None if it has none."""
    with Session(engine) as session:
        found = session.get(tables.Verdicts, audit_id)
        return _verdicts(found) if found else None


def _query(session: Session, filter: Filter, sort: str, limit: int | None) -> Select[*tuple[Any, ...]]:
    """Audits with their model, its published figures, C's scores, the screening, and the gaps of other matrices."""
    audit, model = tables.Audit, tables.Model
    weights = aliased(tables.Clustering)
    others = [aliased(tables.Clustering) for _ in _OTHER_GAPS]
    ids = select_ids(session, filter, sort, limit).subquery()
    query: Select[*tuple[Any, ...]] = (
        select(audit, model, tables.Published, weights, tables.Screening, *(other.gap for other in others))
        .join(ids, ids.c.id == audit.id)
        .join(model, model.id == audit.model_id)
        .outerjoin(tables.Published, tables.Published.model == model.name)
        .outerjoin(tables.Screening, tables.Screening.audit_id == audit.id)
        .options(
            load_only(audit.state, *(getattr(audit, name) for name in _OF_AUDIT)),
            load_only(model.name, model.source, model.training, model.architecture),
            load_only(*(getattr(weights, name) for name in _OF_CLUSTERING)),
            load_only(*(getattr(tables.Screening, name) for name in _OF_SCREENING)),
        )
    )
    for kind, other in zip(("weights", *_OTHER_GAPS), (weights, *others), strict=True):
        query = query.outerjoin(other, (other.audit_id == audit.id) & (other.kind == kind))
    return query.order_by(*order_by(session, sort, weights))


def _row(
    audit: tables.Audit,
    model: tables.Model,
    published: tables.Published | None,
    weights: tables.Clustering | None,
    screening: tables.Screening | None,
    *gaps: float | None,
) -> ResultRow:
    claims = claims_of(audit, None if published is None else published_record(published))
    values: dict[str, Any] = {name: getattr(audit, name) for name in _OF_AUDIT}
    values |= {name: getattr(weights, name) if weights else None for name in _OF_CLUSTERING}
    values |= {name: getattr(screening, name) if screening else None for name in _OF_SCREENING}
    values |= zip(_OTHER_GAPS.values(), gaps, strict=True)
    values |= {
        "flags": [*audit.flags, *mismatches(audit, claims)],
        "started_at": iso(audit.started_at),
        "finished_at": iso(audit.finished_at),
        "status": audit.state,
    }
    return ResultRow(
        **values,
        model=model.name,
        source=model.source,
        training=model.training,
        architecture=model.architecture.get("name"),
        correlation="exact" if audit.sketch is None else "sketch",
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
    if row.labels is None or row.predicted is None or row.broken_at is None:
        return verdicts
    labels, broken = unpack_numbers(row.labels), verdicts.correct & ~verdicts.survived
    return replace(
        verdicts,
        labels=labels,
        predicted=place_numbers(labels, ~verdicts.survived, row.predicted),
        broken_at=place_numbers(-1 + 0 * labels, broken, row.broken_at),
    )
