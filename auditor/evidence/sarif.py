"""SARIF 2.1.0: gates that were not met, failed audits and flags as results; the figures of all models beside them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from auditor.records.results import ResultRow, UnmetGate
from auditor.results.flag_meanings import FLAGS

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FIGURES: Final = ("n", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high")
"""The fields of a result that SARIF and JUnit files show."""


@dataclass(frozen=True)
class Place:
    """Where people look for a model: a file, relative to the working directory, and the line of the model's name."""

    uri: str
    line: int


def figures_of(row: ResultRow) -> dict[str, Any]:
    """The figures that were measured."""
    return {name: value for name in FIGURES if (value := getattr(row, name)) is not None}


def write_sarif(
    rows: Sequence[ResultRow], unmet: Sequence[UnmetGate] = (), places: Mapping[str, Place] | None = None
) -> bytes:
    """The results of a scan as a SARIF log.

    Args:
        unmet: the gates that were not met; each becomes an error.
        places: of models, by name, for viewers that show results in files.
    """
    found = [
        _result(row, rule, level, text, (places or {}).get(row.model))
        for row in rows
        for rule, level, text in _findings(row, unmet)
    ]
    used = list(dict.fromkeys(result["ruleId"] for result in found))
    for result in found:
        result["ruleIndex"] = used.index(result["ruleId"])
    run = {
        "tool": {
            "driver": {
                "name": "auditor",
                "version": version("auditor"),
                "rules": [_rule(name) for name in used],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": found,
        "properties": {
            "models": [
                {"audit": row.id, "model": row.model, "status": row.status, "setting": _setting(row)} | figures_of(row)
                for row in rows
            ]
        },
    }
    return _dump({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def read_models(content: bytes) -> dict[int, dict[str, Any]]:
    """Names, flags and figures of the models in a log of :func:`write_sarif`, by audit.

    Raises:
        ValueError, KeyError, TypeError: it is no such log.
    """
    (run,) = json.loads(content)["runs"]
    found = {
        model["audit"]: {"model": model["model"], "flags": []}
        | {name: model[name] for name in FIGURES if name in model}
        for model in run["properties"]["models"]
    }
    for result in run["results"]:
        if result["ruleId"].startswith("flag-"):
            found[result["properties"]["audit"]]["flags"].append(result["ruleId"].removeprefix("flag-"))
    return found


def _dump(log: dict[str, Any]) -> bytes:
    return f"{json.dumps(log, indent=1, ensure_ascii=False)}\n".encode()


def _findings(row: ResultRow, unmet: Sequence[UnmetGate]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a result: rule, level and text."""
    for gate in unmet:
        if gate.audit == row.id:
            yield "gate-not-met", "error", gate.message
    if row.status == "failed":
        yield "audit-failed", "error", f"{row.model}: the audit failed: {row.reason or 'no reason is known'}"
    for flag in row.flags:
        meaning = FLAGS[flag].meaning if flag in FLAGS else "The figures of this model cannot be trusted."
        yield f"flag-{flag}", "warning", f"{row.model} is flagged {flag}. {meaning}"


def _rule(name: str) -> dict[str, Any]:
    known = FLAGS.get(name.removeprefix("flag-"))
    text, advice = {
        "gate-not-met": ("A model does not meet a gate of the scan.", "Train the model to be more robust."),
        "audit-failed": ("A model could not be audited.", "Run `auditor --debug scan` for the traceback."),
    }.get(name, (known.meaning, known.advice) if known else (name, "Read `auditor results show MODEL`."))
    return {"id": name, "shortDescription": {"text": text}, "help": {"text": advice}}


def _result(row: ResultRow, rule: str, level: str, text: str, place: Place | None) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": row.model, "kind": "module"}]}
    if place is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": place.uri},
            "region": {"startLine": place.line},
        }
    same = hashlib.sha256("\n".join((row.model, rule, _setting(row))).encode()).hexdigest()
    return {
        "ruleId": rule,
        "ruleIndex": 0,
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"auditorModelAndRule/v1": same},
        "properties": {"audit": row.id},
    }


def _setting(row: ResultRow) -> str:
    return f"{row.protocol}, {row.dataset}, {row.norm} {row.eps:g}"
