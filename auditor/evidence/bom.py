"""A CycloneDX ML-BOM of a record: the model as a component, with its model card and its data set.

cyclonedx-python-lib writes and checks the BOM. It has no model cards, so the card is added to its JSON.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from auditor.errors import EnvironmentUnusableError, EvidenceError
from auditor.records.evidence import EvidenceRecord
from auditor.text.eps import format_threat

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:auditor:robustness-evidence:1")
"""Of the serial numbers: the same record has the same one."""


def write_bom(record: EvidenceRecord) -> bytes:
    """The BOM as JSON, checked against the schema of CycloneDX 1.6.

    Raises:
        EnvironmentUnusableError: the extra ``evidence`` is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise EnvironmentUnusableError(
            "evidence needs cyclonedx-python-lib: pip install 'auditor[evidence]'"
        ) from error

    name = f"{record.model.name} {record.audit.id} {record.audit.identity} {record.model.weights_sha256}"
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, name))
    bom.metadata.timestamp = datetime.fromisoformat(record.audit.finished_at or "1970-01-01T00:00:00+00:00")
    bom.metadata.tools.components.add(_producer(record))
    data = _data_component(record)
    model = bom.metadata.component = _model_component(record)
    bom.components.add(data)
    bom.register_dependency(model, [data])
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    made["metadata"]["component"]["modelCard"] = _model_card(record, str(data.bom_ref))
    text = json.dumps(made, indent=1, ensure_ascii=False)
    _check(text)
    return f"{text}\n".encode()


def read_card(content: bytes) -> dict[str, Any]:
    """Name, limits and metrics of the model in a BOM of :func:`write_bom`, with numbers instead of their texts.

    Raises:
        ValueError, KeyError, TypeError: it is no such BOM.
    """
    component = json.loads(content)["metadata"]["component"]
    return _plain_card(component["name"], component["modelCard"])


def card_of(record: EvidenceRecord) -> dict[str, Any]:
    """The same from the record."""
    return _plain_card(record.model.name, _model_card(record, ""))


def _plain_card(name: str, card: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "limits": card["considerations"]["technicalLimitations"],
        "metrics": [_with_numbers(metric) for metric in card["quantitativeAnalysis"]["performanceMetrics"]],
    }


def _with_numbers(metric: dict[str, Any]) -> dict[str, Any]:
    interval = metric.get("confidenceInterval", {})
    return metric | {
        "value": float(metric["value"]),
        "confidenceInterval": {end: float(value) for end, value in interval.items()},
    }


def _check(text: str) -> None:
    """Raises EvidenceError if the text does not fit the schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise EvidenceError(f"the BOM does not fit the schema of CycloneDX 1.6: {str(problem.data)[:300]}")


def _producer(record: EvidenceRecord) -> "Component":
    from cyclonedx.model.component import Component, ComponentType

    return Component(name="auditor", type=ComponentType.APPLICATION, version=record.audit.versions.get("auditor"))


def _model_component(record: EvidenceRecord) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    file, weights = record.model.file_sha256, record.model.weights_sha256
    return Component(
        name=record.model.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{record.audit.id}",
        version=weights[:16] or None,
        description=record.model.description or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file)] if file else None,
        properties=_properties({"weights_sha256": weights, "identity": record.audit.identity}),
    )


def _data_component(record: EvidenceRecord) -> "Component":
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=record.audit.dataset,
        type=ComponentType.DATA,
        bom_ref=f"data:{record.audit.id}",
        properties=_properties({"images_sha256": record.audit.images_sha256, "samples": str(len(record.samples))}),
    )


def _properties(values: dict[str, str | None]) -> list[Any]:
    from cyclonedx.model import Property

    return [Property(name=f"auditor:{name}", value=value) for name, value in values.items() if value]


def _model_card(record: EvidenceRecord, data: str) -> dict[str, Any]:
    limits = [
        "Robust accuracy is empirical: an upper bound, which stronger attacks can only lower.",
        f"The figures hold for {_threat(record)}, and for images like those of {record.audit.dataset}.",
        *(f"Flagged {flag}: the figures cannot be trusted." for flag in record.flags),
    ]
    architecture = record.model.architecture.get("name")
    return {
        "modelParameters": {
            "task": "image classification",
            **({"modelArchitecture": str(architecture)} if architecture else {}),
            "datasets": [{"ref": data}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(record))},
        "considerations": {"technicalLimitations": limits},
    }


def _threat(record: EvidenceRecord) -> str:
    return f"{format_threat(record.audit.norm, record.audit.eps)} under protocol {record.audit.protocol}"


def _metrics(record: EvidenceRecord) -> Iterator[dict[str, Any]]:
    """Every accuracy with its interval; ``slice`` says of which samples, after which attacks."""
    figures, threat = record.figures, _threat(record)
    yield _metric("accuracy", figures["clean_accuracy"], "clean images")
    yield _metric("robust accuracy", figures["robust_accuracy"], threat)
    for position, attack in enumerate(figures.get("attacks") or ()):
        after = f"{threat}, after attack {position + 1}: {attack['attack']}"
        yield _metric("robust accuracy", {"value": attack["robust_accuracy"]}, after)
    for row in figures.get("classes", ()):
        if row["robust_accuracy"] is not None:
            of_class = {"value": row["robust_accuracy"], "low": row["low"], "high": row["high"]}
            yield _metric("robust accuracy", of_class, f"{threat}, class {row['name']}")
    for name in ("superclass_robust_accuracy", "certified_accuracy", "smoothed_certified_accuracy"):
        if share := figures.get(name):
            yield _metric(name.replace("_", " "), share, threat)
    for row in figures.get("corruptions", ()):
        of_one = {"value": row["accuracy"], "low": row["low"], "high": row["high"]}
        yield _metric("accuracy", of_one, f"corruption {row['corruption']}, mean over the severities")
    for point in figures.get("curve", {}).get("points", ()):
        at = {"value": point["robust"], "low": point["low"], "high": point["high"]}
        yield _metric("robust accuracy", at, f"{record.audit.norm} {point['eps']:g}, smallest perturbations")


def _metric(kind: str, share: dict[str, Any], part: str) -> dict[str, Any]:
    metric: dict[str, Any] = {"type": kind, "value": repr(float(share["value"])), "slice": part}
    if share.get("low") is not None and share.get("high") is not None:
        ends = {"lowerBound": repr(float(share["low"])), "upperBound": repr(float(share["high"]))}
        metric["confidenceInterval"] = ends
    return metric
