"""Results as plain values, for JSON, CSV and the API."""

import math
from dataclasses import asdict, fields
from typing import Any

from auditor.db.results import Detail
from auditor.records import Clustering
from auditor.records.results import ResultRow

_NAMES = tuple(field.name for field in fields(ResultRow))


def serialize_row(row: ResultRow) -> dict[str, Any]:
    """A result row as plain values, in the order of its fields."""
    return {name: getattr(row, name) for name in _NAMES}


def serialize_detail(detail: Detail) -> dict[str, Any]:
    """Everything about one audit as plain values: matrices are nested lists, null if they were pruned."""
    verdicts = detail.verdicts
    return serialize_row(detail.row) | {
        "description": detail.description,
        "classes": list(detail.classes),
        "superclasses": list(detail.superclasses),
        "attacks": [asdict(score) for score in detail.attacks],
        "clusterings": {kind: _part(part) for kind, part in detail.clusterings.items()},
        "screening": detail.screening and asdict(detail.screening),
        "published": detail.published and asdict(detail.published),
        "verdicts": verdicts
        and {
            "indices": verdicts.indices.tolist(),
            "correct": verdicts.correct.tolist(),
            "survived": verdicts.survived.tolist(),
        },
    }


def _part(part: Clustering) -> dict[str, Any]:
    matrix = part.matrix
    return asdict(part.scores) | {"matrix": None if matrix is None else matrix.tolist(), "pruned": matrix is None}


def pruned_kinds(detail: Detail) -> list[str]:
    """The kinds of the matrices that were pruned from the database."""
    return [kind for kind, part in detail.clusterings.items() if part.matrix is None]


def nan_to_none(value: Any) -> Any:
    """Replace NaN and infinities, which JSON cannot express, by None, in nested values too."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    return [nan_to_none(item) for item in value] if isinstance(value, list | tuple) else value
