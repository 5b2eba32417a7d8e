"""Records as plain values, for JSON, CSV and event streams. The API returns records, which FastAPI serializes alike."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from auditor.db.results import Detail
from auditor.records import Clustering
from auditor.text.printable import clean_cell

if TYPE_CHECKING:
    from auditor.results.class_errors import ClassErrors


def serialize(record: Any) -> dict[str, Any]:
    """A record as plain values, in the order of its fields, with the records inside it."""
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return serialize(value) if is_dataclass(value) else value


def serialize_detail(detail: Detail) -> dict[str, Any]:
    """Everything about one audit as plain values: matrices are nested lists, null if they were pruned."""
    from auditor.results.certificates import certificate_values
    from auditor.results.class_errors import find_class_errors
    from auditor.results.corruptions import corruption_values
    from auditor.results.curves import curve_values
    from auditor.results.targeted import targeted_values

    verdicts, errors = detail.verdicts, find_class_errors(detail)
    return serialize(detail.row) | {
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
            "labels": None if verdicts.labels is None else verdicts.labels.tolist(),
            "predicted": None if verdicts.predicted is None else verdicts.predicted.tolist(),
            "broken_at": None if verdicts.broken_at is None else verdicts.broken_at.tolist(),
        },
        "targeted": None if detail.targeted is None else targeted_values(detail.targeted),
        "certificate": None if detail.certificate is None else certificate_values(detail.certificate),
        "corruptions": corruption_values(detail.corruptions),
        "curve": None if detail.curve is None else curve_values(detail.curve, detail.row.eps),
        "errors": None if errors is None else _errors(errors),
    }


def _errors(errors: "ClassErrors") -> dict[str, Any]:
    values = {field.name: getattr(errors, field.name) for field in fields(errors)}
    return values | {
        "classes": [asdict(row) for row in errors.classes],
        "confusion": None if errors.confusion is None else errors.confusion.tolist(),
        "attack_success": errors.attack_success and _part(errors.attack_success),
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


def keys_of(record: type[Any]) -> list[str]:
    """The keys of :func:`serialize` of a dataclass, for the header of a table without rows."""
    return [field.name for field in fields(record)]


def as_csv(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    """Comma-separated values with a header; lists are joined by semicolons, dicts are JSON.

    ``keys``: the header of a table without rows; otherwise the first row has the keys.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0] if rows else keys), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: clean_cell(_cell(value)) for key, value in row.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value
