"""The identity of an audit: a digest over everything that can change its numbers."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from auditor.attacks.ascent import APPROACH_STEPS, approach_gradients
from auditor.attacks.curve_search import search_settings
from auditor.attacks.norms import NORMS
from auditor.attacks.protocols import requested_protocol
from auditor.attacks.sequential import PARAMETERS as SEQUENTIAL
from auditor.attacks.targeted import PARAMETERS
from auditor.audit.earlier import Earlier
from auditor.certify.settings import certificate_parameters
from auditor.data import ImageSet, hierarchy_of
from auditor.records import METHOD_VERSION, AuditRequest, ZooEntry


def identity(
    entry: ZooEntry,
    weights_sha256: str,
    request: AuditRequest,
    images: ImageSet | None,
    extra: Any = None,
    earlier: Earlier | None = None,
) -> str:
    """SHA-256 over everything that can change an audit's numbers.

    ``earlier``: the result beside which a regression is looked for.
    ``extra``: the identity of the attacks beyond the protocol's, see :mod:`auditor.audit.extra_attacks`.
    """
    protocol, hierarchy = requested_protocol(request), hierarchy_of(entry)
    parts = {
        "method": METHOD_VERSION,
        "weights": weights_sha256,
        "architecture": entry.architecture,
        "preprocessing": entry.preprocessing,
        "input_size": entry.input_size,
        "dataset": entry.dataset,
        "images": images.digest if images else None,
        "transform": _scaling(entry),
        "classes": hierarchy.classes,
        "hierarchy": [hierarchy.levels, hierarchy.headline],
        "linearization": request.linearization,
        "sketch": request.sketch,
        "norm": entry.norm,
        "eps": entry.eps,
        "protocol": [protocol.name, *(asdict(attack) for attack in protocol.attacks)],
        "seed": request.seed,
    }
    if request.targeted is not None:  # not a key of its own, so that other audits keep their identity
        parts["targeted"] = [request.targeted, PARAMETERS]
    several = [request.tests] if request.tests > 1 else []
    norm = NORMS.get(entry.norm)
    if norm and approach_gradients(norm) and any(attack.engine == "search" for attack in protocol.attacks):
        parts["approach"] = [norm.radii, APPROACH_STEPS, norm.overstated]
    if request.stop_at is not None:
        parts["sequential"] = [request.stop_at, SEQUENTIAL, *several]
    if request.stop_on_regression and earlier is not None:
        parts["sequential"] = [earlier.digest, SEQUENTIAL, *several]
    if request.extra_attacks is not None:
        parts["extra_attacks"] = extra
    if request.curve:
        parts["curve"] = search_settings(NORMS[entry.norm])
    if images is not None and images.corrupted is not None:  # no attack runs
        parts["protocol"], parts["corruptions"] = [protocol.name], images.corrupted.identity
    if request.certify is not None:
        parts["certify"] = [request.certify, certificate_parameters(request, entry.eps)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _scaling(entry: ZooEntry) -> dict[str, Any] | None:
    """The transform without its channels, because the digest of the images covers these."""
    if entry.transform is None:
        return None
    parts = {name: value for name, value in asdict(entry.transform).items() if name != "channels"}
    if parts["crop_at"] == "round":  # not in the identities of older audits
        del parts["crop_at"]
    return parts
