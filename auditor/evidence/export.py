"""Writes results as files of evidence, and signs them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import UsageError
from auditor.evidence import layout
from auditor.evidence.bom import write_bom
from auditor.evidence.card import write_card, write_eval_results
from auditor.evidence.collect import Collected
from auditor.evidence.junit import write_junit
from auditor.evidence.keys import public_pem
from auditor.evidence.sarif import write_sarif
from auditor.evidence.standards import write_standards
from auditor.evidence.statement import make_statement, sign_statement
from auditor.records.evidence import EvidenceRecord, record_to

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


def export_evidence(collected: Collected, signer: "CryptoSigner", folder: Path) -> list[str]:
    """Write the evidence into a new or empty folder, and return the names of its files.

    Raises:
        UsageError: the folder is not empty, or not writable.
        EnvironmentUnusableError: the extra ``evidence`` is not installed.
    """
    files = make_files(collected)
    files[layout.PUBLIC_KEY] = public_pem(signer.public_key)
    files[layout.ENVELOPE] = sign_statement(make_statement(collected, files), signer)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: name a new or an empty folder")
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return sorted(files)


def make_files(collected: Collected) -> dict[str, bytes]:
    """The content of all files but the key and the envelope, by name."""
    files = {
        layout.SARIF: write_sarif(collected.rows),
        layout.JUNIT: write_junit(collected.rows),
        layout.STANDARDS: write_standards(collected.records),
    }
    for record in collected.records:
        number = record.audit.id
        files[layout.record_name(number)] = write_record(record)
        files[layout.bom_name(number)] = write_bom(record)
        files[layout.card_name(number)] = write_card(record)
        if (results := write_eval_results(record)) is not None:
            files[layout.eval_results_name(number)] = results
    return files


def write_record(record: EvidenceRecord) -> bytes:
    """A record as JSON, with one sample a line."""
    values = record_to(record)
    samples = ",\n  ".join(json.dumps(sample) for sample in values.pop("samples"))
    head = json.dumps(values, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "samples": [\n  {samples}\n ]\n}}\n'.encode()
