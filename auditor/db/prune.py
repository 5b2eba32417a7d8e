"""Deletes the large parts of old audits: matrices, pictures of templates, verdicts by sample. Other numbers stay."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.latest import SETTING, lock_model
from auditor.db.session import begin_writing


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """How many matrices and verdicts were deleted, from how many audits, and their stored size in bytes.

    The pictures of templates go with the matrices, and count in the bytes.
    """

    audits: int = 0
    matrices: int = 0
    verdicts: int = 0
    bytes: int = 0

    def __add__(self, other: "PruneResult") -> "PruneResult":
        return PruneResult(
            audits=self.audits + other.audits,
            matrices=self.matrices + other.matrices,
            verdicts=self.verdicts + other.verdicts,
            bytes=self.bytes + other.bytes,
        )


def prune(engine: Engine, keep: int, *, dry_run: bool = False) -> PruneResult:
    """Keep matrices and verdicts of the ``keep`` done audits confirmed last of each model under one setting.

    So the newest done audit keeps its own. Each model is one transaction, so other writers wait only briefly.
    """
    removed = PruneResult()
    with Session(engine) as session:
        numbers = session.scalars(select(tables.Model.id).order_by(tables.Model.id)).all()
    for number in numbers:
        with Session(engine) as session, session.begin():
            if not dry_run:
                begin_writing(session)
                lock_model(session, number)
            old = _old(number, keep)
            found = _measure(session.connection(), old)
            if not dry_run and found.audits:
                _remove(session.connection(), old)
            removed += found
    return removed


def vacuum(engine: Engine) -> bool:
    """Shrink an SQLite file after a deletion; False if another process is using it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            connection.exec_driver_sql("VACUUM")
            busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
        except OperationalError:
            return False
        return not busy


def _old(model_id: int, keep: int) -> Select[int]:
    """A model's done audits that are not among the newest ``keep`` of their series."""
    audit = tables.Audit
    series = [getattr(audit, name) for name in SETTING]
    age = func.row_number().over(partition_by=series, order_by=(audit.confirmed_at.desc(), audit.id.desc()))
    ranked = select(audit.id, age.label("age")).where(audit.model_id == model_id, audit.state == "done").subquery()
    return select(ranked.c.id).where(ranked.c.age > keep)


def _measure(connection: Connection, old: Select[int]) -> PruneResult:
    part, verdicts = tables.Clustering, tables.Verdicts
    matrices = select(part.audit_id, func.length(part.matrix)).where(*_with_matrix(old))
    packed = (
        verdicts.indices, verdicts.correct, verdicts.survived, verdicts.pictures, verdicts.labels, verdicts.predicted,
        verdicts.broken_at,
    )  # fmt: skip
    size, *more = (func.coalesce(func.length(column), 0) for column in packed)
    judged = select(verdicts.audit_id, sum(more, size)).where(verdicts.audit_id.in_(old))
    pictures = tables.Templates
    drawn = select(pictures.audit_id, func.length(pictures.pixels) + func.length(pictures.scales))
    of_matrices, of_verdicts = connection.execute(matrices).all(), connection.execute(judged).all()
    corrupted = tables.Corruption
    bits = select(corrupted.audit_id, func.length(corrupted.verdicts)).where(*_with_bits(old))
    both = [
        *of_matrices,
        *of_verdicts,
        *connection.execute(bits).all(),
        *connection.execute(drawn.where(pictures.audit_id.in_(old))).all(),
    ]
    return PruneResult(
        audits=len({number for number, _ in both}),
        matrices=len(of_matrices),
        verdicts=len(of_verdicts),
        bytes=sum(size for _, size in both),
    )


def _remove(connection: Connection, old: Select[int]) -> None:
    connection.execute(update(tables.Clustering).where(*_with_matrix(old)).values(matrix=None))
    connection.execute(update(tables.Corruption).where(*_with_bits(old)).values(verdicts=None))
    connection.execute(delete(tables.Verdicts).where(tables.Verdicts.audit_id.in_(old)))
    connection.execute(delete(tables.Templates).where(tables.Templates.audit_id.in_(old)))


def _with_matrix(old: Select[int]) -> Iterator[ColumnElement[bool]]:
    yield tables.Clustering.matrix.is_not(None)
    yield tables.Clustering.audit_id.in_(old)


def _with_bits(old: Select[int]) -> Iterator[ColumnElement[bool]]:
    yield tables.Corruption.verdicts.is_not(None)
    yield tables.Corruption.audit_id.in_(old)
