"""Looks up results by the name of a model."""

import math

from sqlalchemy import Engine

from auditor.db.results import Filter, list_results
from auditor.errors import NotFoundError, UsageError
from auditor.records import STOPPED_EARLY
from auditor.records.corruptions import is_corruptions
from auditor.records.results import ResultRow
from auditor.text.similar import did_you_mean


def find_rows(engine: Engine, model: str, protocol: str | None, audit_id: int | None) -> list[ResultRow]:
    """The results that a name matches, best first.

    The order: in a norm ball and not under corruptions, without extra attacks, complete, most images, batch norm
    removed, C exact, the newest.

    Raises:
        NotFoundError: no result matches; the message suggests similar names.
        UsageError: models of several sources have this id.
    """
    filter = Filter(model=model, protocol=protocol, id=audit_id, status="done", history=audit_id is not None)
    found = list_results(engine, filter)
    if not found:
        raise NotFoundError(_no_result(engine, model, protocol, audit_id))

    models = sorted({row.model for row in found})
    if len(models) > 1:
        raise UsageError(f"{model!r} is ambiguous: {', '.join(models)}; give the name with its source")

    def rank(row: ResultRow) -> tuple[bool, bool, bool, int, bool, int | float, int]:
        probes = math.inf if row.sketch is None else row.sketch
        attacked = not is_corruptions(row.norm)
        plain = attacked, row.extra_attacks is None, STOPPED_EARLY not in row.flags
        return *plain, row.n or 0, row.linearization == "remove", probes, row.id

    return sorted(found, key=rank, reverse=True)


def _no_result(engine: Engine, model: str, protocol: str | None, audit_id: int | None) -> str:
    rows = list_results(engine, Filter(status="done"))
    others = dict.fromkeys(row.protocol for row in rows if model in (row.model, row.model.partition(":")[2]))
    names = sorted({row.model for row in rows if protocol in (None, row.protocol)})
    if not rows:
        hint = "no results are stored yet; `auditor scan demo` makes some"
    elif protocol is not None and others:
        hint = f"it has results under {', '.join(others)}"
    else:
        hint = did_you_mean(model, names, "`auditor results list` shows all there are", least=0.4)
    under = f" under {protocol}" if protocol else ""
    return f"no result of {model!r}{under}{f' with id {audit_id}' if audit_id else ''}; {hint}"
