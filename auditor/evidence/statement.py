"""The signed statement: an in-toto Statement about the models, with the digest of every file, in a DSSE envelope."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from auditor.errors import EvidenceError, first_line
from auditor.evidence.layout import headline, record_name
from auditor.records.evidence import EvidenceRecord

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

    from auditor.evidence.collect import Collected

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:auditor:robustness-evidence:1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


def make_statement(collected: "Collected", files: Mapping[str, bytes]) -> dict[str, Any]:
    """The Statement: its subjects are the models, its predicate has the figures and the digests of the files."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [subject_of(record) for record in collected.records],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "producer": {"name": "auditor", "version": version("auditor")},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "scan": collected.scan,
            "audits": [summary_of(record) for record in collected.records],
            "notIncluded": [{"model": one.model, "reason": one.reason} for one in collected.not_included],
            "files": [
                {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
                for name, content in sorted(files.items())
            ],
        },
    }


def subject_of(record: EvidenceRecord) -> dict[str, Any]:
    """A model as a subject; ``sha256`` is of its file, if that is known, ``auditorWeights`` of its state dict."""
    known = {"sha256": record.model.file_sha256, "auditorWeights": record.model.weights_sha256}
    return {"name": record.model.name, "digest": {name: digest for name, digest in known.items() if digest}}


def summary_of(record: EvidenceRecord) -> dict[str, Any]:
    """An audit in the predicate: what was measured, and the main figures."""
    audit = record.audit
    return {
        "audit": audit.id,
        "model": record.model.name,
        "record": record_name(audit.id),
        "protocol": audit.protocol,
        "dataset": audit.dataset,
        "norm": audit.norm,
        "eps": audit.eps,
        "figures": headline(record.figures),
        "flags": record.flags,
    }


def sign_statement(statement: Mapping[str, Any], signer: "CryptoSigner") -> bytes:
    """The envelope as the bytes of its file."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(json.dumps(statement, ensure_ascii=False).encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return _write(envelope.to_dict())


def _write(envelope: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(envelope, indent=1, sort_keys=True)}\n".encode()


def open_envelope(name: str, content: bytes, key: "SSlibKey") -> dict[str, Any]:
    """Check the signature of an envelope in a file of this name, and return its statement.

    Only the bytes that :func:`sign_statement` writes are accepted, because a signature covers only the payload and its
    type, and base64 and JSON have several forms of one value.

    Raises:
        EvidenceError: the envelope is damaged, or another key signed it.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    try:
        envelope = Envelope.from_dict(json.loads(content))
        canonical = _write(envelope.to_dict()) == content
        signers = list(envelope.signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"{name}: changed: it is no DSSE envelope, {first_line(error)}") from error
    except Exception as error:  # securesystemslib's own, of base64
        raise EvidenceError(f"{name}: changed: {first_line(error)}") from error
    if not canonical:
        raise EvidenceError(f"{name}: changed: it is not in the form in which evidence is written")
    if signers != [key.keyid]:
        named = ", ".join(signers) or "none"
        raise EvidenceError(f"{name}: expected one signature of the key {key.keyid}, got {named:.200}")
    try:
        envelope.verify([key], 1)
    except VerificationError as error:
        raise EvidenceError(f"{name}: changed: the signature is not of the key {key.keyid}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise EvidenceError(f"{name}: expected a payload of the type {PAYLOAD_TYPE}, got {envelope.payload_type!r:.80}")
    return _read_statement(name, envelope.payload)


def _read_statement(name: str, payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
        kinds = statement["_type"], statement["predicateType"]
        predicate = statement["predicate"]
        complete = isinstance(predicate["audits"], list)
        digests = {str(file["name"]): str(file["digest"]["sha256"]) for file in predicate["files"]}
        left_out = [{"model": str(one["model"]), "reason": str(one["reason"])} for one in predicate["notIncluded"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvidenceError(f"{name}: its statement cannot be read: {first_line(error)}") from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE) or not complete:
        raise EvidenceError(f"{name}: expected a statement of the type {PREDICATE_TYPE}, got {kinds[1]!r:.80}")
    found: dict[str, Any] = statement | {"digests": digests, "notIncluded": left_out}
    return found
