"""What must not depend on where an audit ran, nor on how often it began: one digest for each model."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, select

from auditor.db import models as tables

FIGURES: dict[Any, Sequence[str]] = {
    tables.Audit: (
        "state", "identity", "weights_sha256", "images_sha256", "n", "clean_accuracy", "robust_accuracy",
        "robust_low", "robust_high", "affinity_error", "parameters", "hierarchy", "flags", "notes", "not_measurable",
    ),
    tables.Clustering: (
        "kind", "intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "p_value", "effective_rank",
        "leaf_order", "matrix",
    ),
    tables.AttackScore: ("position", "attack", "parameters", "n", "broken", "robust_accuracy"),
    tables.Verdicts: ("n", "indices", "correct", "survived", "pictures", "labels", "predicted", "broken_at"),
}  # fmt: skip
"""The compared columns: figures as float64, matrices and verdicts as bytes."""


def scan_command(zoo: Path, samples: int) -> list[str]:
    """The words of the scan that all scenarios run, after ``auditor``."""
    return ["scan", "local", str(zoo), "--trust-code", "--protocol", "quick", "--samples", str(samples)]


def run_auditor(words: Sequence[str], environment: dict[str, str]) -> None:
    """Run a command of auditor.

    Raises:
        SystemExit: the command failed; with the end of what it printed.
    """
    command = [sys.executable, "-m", "auditor", *words]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"FAILED: auditor {' '.join(words)}: exit code {ended.returncode}: {ended.stderr[-2000:]}")


def digests(engine: Engine) -> dict[str, str]:
    """The SHA-256 of all compared rows of each model; models without verdicts are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    complete = set()
    with engine.connect() as connection:
        for table, names in FIGURES.items():
            query = select(tables.Model.name, *(getattr(table, name) for name in names))
            query = query.select_from(tables.Model).join(tables.Audit, tables.Audit.model_id == tables.Model.id)
            if table is not tables.Audit:
                query = query.join(table, table.audit_id == tables.Audit.id)
            for model, *row in connection.execute(query):
                found[model].append(json.dumps([table.__tablename__, *row], sort_keys=True, default=bytes.hex))
                if table is tables.Verdicts:
                    complete.add(model)
    return {model: _digest(rows) for model, rows in found.items() if model in complete}


def _digest(rows: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def measure_reference(zoo: Path, samples: int, folder: Path) -> dict[str, Any]:
    """Audit the zoo in one process, without workers or services: the seconds, and the digest of each model."""
    engine = create_engine(f"sqlite:///{folder}/local.db")
    began = time.monotonic()
    run_auditor([*scan_command(zoo, samples), "--here"], {"AUDITOR_DATABASE_URL": str(engine.url)})
    return {"seconds": time.monotonic() - began, "digests": digests(engine)}
