"""``--mlflow``: log the audits of a scan as MLflow runs.

A run belongs to one model under one setting. Each audit adds a step to the run's metrics, whose number is the scan's,
so that MLflow draws the nights of a model as one line.
"""

import functools
import hashlib
import json
import math
import posixpath
import re
import shlex
import tempfile
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from auditor.cli.output.progress import say
from auditor.db.results import Detail, Filter, list_results, load_detail
from auditor.errors import EnvironmentUnusableError, EvidenceError, UsageError
from auditor.network.mlflow import check_uri, mlflow_client
from auditor.records.results import ResultRow
from auditor.results.ranking import describe_setting, setting_of
from auditor.results.serialize import as_csv, nan_to_none, serialize_detail
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from securesystemslib.signer import CryptoSigner

METRICS = (
    "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "certified_accuracy",
    "smoothed_certified_accuracy", "gap", "gap_centred", "gap_deflated", "gap_features", "intra", "inter", "silhouette",
    "p_value", "effective_rank", "screen_score", "margin", "local_gap", "data_margin", "affinity_error", "seconds",
)  # fmt: skip
PARAMETERS = (
    "model", "source", "dataset", "protocol", "norm", "eps", "n", "samples", "linearization", "sketch", "extra_attacks",
    "hierarchy", "seed",
)  # fmt: skip
"""What decides a run: audits that differ in one of these are no line."""
AUDIT_METRIC = "audit"
MOST_LETTERS = 5000
LONGEST_NAME = 250


def check_server(uri: str) -> None:
    """Check that scans can be logged to a tracking URI.

    Raises:
        UsageError: the URI is malformed.
        EnvironmentUnusableError: MLflow is not installed, or its server does not answer.
    """
    with mlflow_client(check_uri(uri)):
        pass


def log_scan(engine: Engine, scan_id: int, uri: str, experiment: str | None = None) -> int:
    """Log the ended audits of a scan, and return their number; audits that were logged before are left out.

    Args:
        experiment: the name of the experiment, by default ``auditor/SOURCE``.

    Raises:
        UsageError, EnvironmentUnusableError: as :func:`check_server`.
    """
    rows = list_results(engine, Filter(scan=scan_id), sort="model")
    ended = [row for row in rows if row.status in ("done", "failed")]
    if not ended:
        return 0
    uri = check_uri(uri)
    with mlflow_client(uri) as client:
        name = experiment or f"auditor/{ended[0].source}"
        experiment_id = _find_experiment(client, name, uri)
        find_signer = functools.cache(_find_signer)  # says only once why there is none, and only if there is evidence
        return sum(_log_audit(client, experiment_id, engine, row, scan_id, find_signer) for row in ended)


def log_after_scan(engine: Engine, scan_id: int, uri: str) -> None:
    """Log a scan that has just ended, and print the number of logged audits.

    A failure is printed and not raised, because the scan is stored.
    """
    try:
        count = log_scan(engine, scan_id, uri)
    except (EnvironmentUnusableError, UsageError) as error:
        say(f"{error}; scan {scan_id} is stored: run `auditor scans mlflow {scan_id} {shlex.quote(uri)}` to log it")
    else:
        say(f"logged {counted(count, 'audit')} to MLflow")


def _find_experiment(client: "MlflowClient", name: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # MLflow would put the files of an SQLite store into the working directory.
    place = (
        Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts" if uri.startswith("sqlite:") else None
    )
    return str(client.create_experiment(name, artifact_location=place.as_uri() if place else None))


def _log_audit(
    client: "MlflowClient",
    experiment_id: str,
    engine: Engine,
    row: ResultRow,
    scan_id: int,
    find_signer: "Callable[[], CryptoSigner | None]",
) -> bool:
    run = _find_run(client, experiment_id, row)
    run_id = run.info.run_id
    if AUDIT_METRIC in run.data.metrics and any(
        found.value == row.id for found in client.get_metric_history(run_id, AUDIT_METRIC)
    ):
        return False
    client.set_tag(run_id, "auditor.scan", str(scan_id))
    client.set_tag(run_id, "auditor.flags", ", ".join(row.flags) or "none")
    detail = None if row.status == "failed" else load_detail(engine, row.id)
    if detail is None:
        client.set_tag(run_id, "mlflow.note.content", f"audit {row.id} failed: {row.reason}"[:MOST_LETTERS])
    else:
        client.set_tag(run_id, "mlflow.note.content", describe_audit(detail)[:MOST_LETTERS])
        _log_files(client, run_id, detail)
        if row.robust_accuracy is not None and (signer := find_signer()) is not None:
            _log_evidence(client, run_id, engine, row, signer)
    client.log_batch(run_id, metrics=_metrics(row, detail, scan_id))  # last: it says that the audit is logged
    client.set_terminated(run_id, "FAILED" if row.status == "failed" else "FINISHED")
    return True


def describe_audit(detail: Detail) -> str:
    """What was measured, in Markdown, for the page of the run."""
    row, lines = detail.row, [detail.description, describe_setting(setting_of(detail.row))]
    lines += [f"Flags: {', '.join(row.flags)}" if row.flags else "", *row.notes]
    lines.append(f"auditor audit {row.id}, weights SHA-256 {row.weights_sha256}")
    return "\n\n".join(line for line in lines if line)


def _find_run(client: "MlflowClient", experiment_id: str, row: ResultRow) -> "Run":
    """The run of the row's model and setting; a new one if there is none."""
    setting = hashlib.sha256(json.dumps([getattr(row, name) for name in PARAMETERS]).encode()).hexdigest()
    found = client.search_runs([experiment_id], f"tags.`auditor.setting` = '{setting}'", max_results=1)
    if found:
        return found[0]
    tags = {"auditor.setting": setting, "mlflow.runName": row.model}
    run = client.create_run(experiment_id, tags=tags)
    for name in PARAMETERS:
        value = getattr(row, name)
        if value is not None:
            client.log_param(run.info.run_id, name, value)
    for name, value in row.training.items():
        client.log_param(run.info.run_id, mlflow_name(f"training.{name}"), value)
    return run


def _metrics(row: ResultRow, detail: Detail | None, scan_id: int) -> "list[Metric]":
    from mlflow.entities import Metric

    values: dict[str, Any] = {AUDIT_METRIC: row.id} | {name: getattr(row, name) for name in METRICS}
    values["flags"] = len(row.flags)
    if detail is not None:
        for score in detail.attacks:
            values[mlflow_name(f"after/{score.attack}", taken=values)] = score.robust_accuracy
    when = datetime.fromisoformat(row.finished_at) if row.finished_at else datetime.now(UTC)
    stamp = int(when.timestamp() * 1000)
    return [
        Metric(name, float(value), stamp, scan_id)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]


def mlflow_name(text: str, taken: Container[str] = ()) -> str:
    """A name that MLflow accepts for a metric or a parameter, and that is not taken: others refuse the whole run.

    Example:
        >>> mlflow_name("after/pgd-20 from hub:me/vit@v2")
        'after/pgd-20 from hub:me/vit_v2'
    """
    name = re.sub(r"[^/\w.\- :]", "_", text)
    if posixpath.normpath(name) != name:  # MLflow makes paths of names
        first, _, rest = name.partition("/")
        name = f"{first}/_{rest.replace('/', '_')}"
    name = name[:LONGEST_NAME]
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name[: LONGEST_NAME - len(str(number)) - 1]}_{number}"
    return unique


def _log_files(client: "MlflowClient", run_id: str, detail: Detail) -> None:
    """The record with its verdicts, C and F as tables, and their picture."""
    from auditor.cli.output.plots import model_figure
    from auditor.plots import save

    place = f"audits/{detail.row.id}"
    with tempfile.TemporaryDirectory() as folder:
        record = json.dumps(nan_to_none(serialize_detail(detail)), indent=1)
        Path(folder, "record.json").write_text(record)
        for kind, part in detail.clusterings.items():
            if part.matrix is not None:
                Path(folder, f"{kind}.csv").write_text(_table(detail.classes, part.full_matrix().tolist()))
        if detail.clusterings:
            save(model_figure(detail), Path(folder, "clustering.png"))
        client.log_artifacts(run_id, folder, place)


def _find_signer() -> "CryptoSigner | None":
    """The key that signs evidence; None without one, and then the reason is printed."""
    from auditor.config import settings
    from auditor.evidence.keys import load_signer

    key = settings().evidence_key
    if not key.exists():
        say(f"no evidence is logged: there is no key {key}: `auditor evidence keygen` makes it")
        return None
    try:
        return load_signer(key)
    except (EnvironmentUnusableError, UsageError) as error:
        say(f"no evidence is logged: {error}")
        return None


def _log_evidence(client: "MlflowClient", run_id: str, engine: Engine, row: ResultRow, signer: "CryptoSigner") -> None:
    """The signed evidence of an audit, a folder that ``auditor evidence verify`` reads. A failure is printed."""
    from auditor.evidence.collect import collect_audit
    from auditor.evidence.export import export_evidence

    with tempfile.TemporaryDirectory() as folder:
        try:
            export_evidence(collect_audit(engine, row.id), signer, Path(folder))
        except (EnvironmentUnusableError, EvidenceError, UsageError) as error:
            say(f"{row.model}: no evidence is logged: {error}")
        else:
            client.log_artifacts(run_id, folder, f"evidence/{row.id}")


def _table(classes: Sequence[str], matrix: list[list[float]]) -> str:
    rows = [{"class": name, **dict(zip(classes, row, strict=True))} for name, row in zip(classes, matrix, strict=True)]
    return as_csv(rows, ["class", *classes])
