"""What the Hugging Face hub reads: a model card with a ``model-index``, and results for ``.eval_results``."""

import json
from typing import Any

from auditor.checkpoints.metadata import as_front_matter, model_index
from auditor.evidence.layout import headline
from auditor.records.evidence import EvidenceRecord
from auditor.text.eps import format_threat
from auditor.text.numbers import counted, interval, percent

TASK = "adversarial_robustness"


def write_card(record: EvidenceRecord) -> bytes:
    """README.md for the model's repository, or to be merged into it.

    A flagged result has no ``model-index``, because leaderboards would show it without its flag.
    """
    known = {
        "pipeline_tag": "image-classification",
        "datasets": [record.audit.hub_dataset] if record.audit.hub_dataset else None,
        "tags": ["image-classification", "adversarial-robustness", "auditor"],
        "metrics": ["accuracy"],
        "model-index": None if record.flags else _index(record),
    }
    return (as_front_matter({key: value for key, value in known.items() if value is not None}) + _body(record)).encode()


def write_eval_results(record: EvidenceRecord) -> bytes | None:
    """The file for the folder ``.eval_results``; YAML, written as JSON. None without a data set of the hub.

    A flagged result has none, either.
    """
    if record.audit.hub_dataset is None or record.flags:
        return None
    entry = {
        "dataset": {"id": record.audit.hub_dataset, "task_id": TASK},
        "value": record.figures["robust_accuracy"]["value"],
        "date": record.audit.finished_at,
        "notes": f"{_threat(record)}, {counted(record.figures['n'], 'image')}, accuracy from 0 to 1",
    }
    known = {key: value for key, value in entry.items() if value is not None}
    return f"{json.dumps([known], indent=1, ensure_ascii=False)}\n".encode()


def read_index(content: bytes) -> dict[str, float]:
    """The values of the metrics in a card of :func:`write_card`, by name; empty without a ``model-index``.

    Raises:
        ValueError, KeyError, TypeError: it is no such card.
    """
    head = content.decode().partition("---\n")[2].partition("\n---\n")[0]
    values = dict(line.split(": ", 1) for line in head.splitlines())
    if "model-index" not in values:
        return {}
    (model,) = json.loads(values["model-index"])
    return {metric["name"]: metric["value"] for metric in model["results"][0]["metrics"]}


def index_of(record: EvidenceRecord) -> dict[str, float]:
    """The same from the record."""
    return {} if record.flags else {metric["name"]: metric["value"] for metric in _metrics(record)}


def read_value(content: bytes) -> float:
    """The value in a file of :func:`write_eval_results`. Raises ValueError, KeyError, TypeError: it is no such file."""
    (entry,) = json.loads(content)
    return float(entry["value"])


def _threat(record: EvidenceRecord) -> str:
    return f"{format_threat(record.audit.norm, record.audit.eps)}, protocol {record.audit.protocol}"


def _metrics(record: EvidenceRecord) -> list[dict[str, Any]]:
    figures = record.figures
    images = counted(figures["n"], "image")
    named = {
        f"clean accuracy ({images})": figures["clean_accuracy"]["value"],
        f"robust accuracy ({_threat(record)}, {images})": figures["robust_accuracy"]["value"],
    }
    return [{"type": "accuracy", "name": name, "value": value} for name, value in named.items()]


def _index(record: EvidenceRecord) -> list[dict[str, Any]]:
    name, dataset = record.model.name.replace(":", "-"), record.audit.dataset
    return model_index(name, record.audit.hub_dataset or dataset, dataset, _metrics(record))


def _body(record: EvidenceRecord) -> str:
    found = headline(record.figures)
    rows = [
        ("clean accuracy", found["clean_accuracy"], found["clean_low"], found["clean_high"]),
        (f"robust accuracy, {_threat(record)}", found["robust_accuracy"], found["robust_low"], found["robust_high"]),
    ]
    table = [f"| {name} | {percent(value)} | {interval(low, high, percent)} |" for name, value, low, high in rows]
    lines = [
        f"# Robustness of {_plain(record.model.name)}",
        "",
        f"Measured by auditor on {counted(found['n'], 'image')} of {_plain(record.audit.dataset)}.",
        "",
        "| figure | value | 95 % interval |",
        "| --- | --- | --- |",
        *table,
        "",
        *(f"**Flagged {flag}: these figures cannot be trusted.**\n" for flag in record.flags),
        f"SHA-256 of the weights, over names, types, shapes and values: `{record.model.weights_sha256}`",
        "",
        "Robust accuracy is empirical: the share of images on which the known attacks failed. Stronger attacks can "
        "only lower it. It holds for one threat model.",
        "",
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Untrusted text on one line, without the letters that Markdown reads."""
    from auditor.errors import one_line

    return "".join(f"\\{letter}" if letter in "\\`*_|<>[]" else letter for letter in one_line(text))
