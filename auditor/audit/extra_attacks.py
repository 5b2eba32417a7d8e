"""Loads the attacks of a request that go beyond its protocol: functions of files, and models to transfer from."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from auditor.attacks.own import OwnAttack
from auditor.attacks.transfer import ATTACKS
from auditor.data import hierarchy_of
from auditor.errors import ModelLoadError, NotFoundError
from auditor.records import AuditRequest, ZooEntry
from auditor.records.extra_attacks import AttackFile, TransferModel
from auditor.user_code import import_function, running
from auditor.user_code.digest import code_digest
from auditor.zoo import LoadedModel, find_source


@dataclass(frozen=True)
class LoadedAttacks:
    """The attacks, and ``identity``: what of them is part of an audit's identity; None without any."""

    own: Mapping[str, OwnAttack] = field(default_factory=dict)
    models: Mapping[str, nn.Module] = field(default_factory=dict)
    identity: Any = None
    notes: tuple[str, ...] = ()


NO_ATTACKS = LoadedAttacks()


def load_attacks(entry: ZooEntry, request: AuditRequest) -> LoadedAttacks:
    """Load what a request adds to its protocol. **Runs the code of attack files.**

    Raises:
        ModelLoadError: a file has changed since the scan began, or is not here; its code raised an error; or a model
            to transfer from has other weights than then, or does not fit the audited one.
    """
    extra = request.extra_attacks
    if extra is None:
        return NO_ATTACKS
    notes = [
        f"no transfer from {one.model}, because it is this model" for one in extra.transfer if one.model == entry.model
    ]
    others = [one for one in extra.transfer if one.model != entry.model]
    loaded = {one.model: _load_model(one, entry) for one in others}
    own = {one.name: load_function(one) for one in extra.own}
    identity = {
        "own": [[one.name, one.sha256] for one in extra.own],
        "transfer": [[name, found.weights_sha256, other] for name, (other, found) in loaded.items()],
        "transfer_attacks": ATTACKS if loaded else None,
    }
    return LoadedAttacks(
        own=own,
        models={name: found.model.to(request.device) for name, (_, found) in loaded.items()},
        identity=identity,
        notes=tuple(notes),
    )


def load_function(attack: AttackFile) -> OwnAttack:
    """Import the function of an attack file. **Runs the file's code.**

    The file's folder is on the import path only while its code runs.

    Raises:
        ModelLoadError: see :func:`load_attacks`.
    """
    file = Path(attack.path)
    if not file.is_file():
        raise ModelLoadError(f"attack {attack.name}: no such file on this machine: {file}")
    try:
        digest = code_digest(file.parent, file)
    except OSError as error:
        raise ModelLoadError(f"attack {attack.name}: cannot read the code of {file}: {error.strerror}") from error
    if digest != attack.sha256:
        raise ModelLoadError(f"attack {attack.name}: the code has changed since the scan began: scan again")
    with running(file.parent, attack.name, ModelLoadError):
        function = import_function(file, attack.function, ModelLoadError)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with running(file.parent, attack.name, ModelLoadError):
            return function(*arguments, **named)

    return call


def _load_model(transfer: TransferModel, entry: ZooEntry) -> tuple[dict[str, Any], LoadedModel]:
    """What identifies the model beside its weights, and the model."""
    name = f"transfer from {transfer.model}"
    folder = None if transfer.folder is None else Path(transfer.folder)
    zoo = find_source(transfer.model.partition(":")[0], folder, trust_code=transfer.trust_code)
    other = next((one for one in zoo.entries() if one.model == transfer.model), None)
    if other is None:
        raise NotFoundError(f"{name}: no such model")
    if other.input_size != entry.input_size:
        raise ModelLoadError(
            f"{name}: expected the input size {tuple(entry.input_size)} of {entry.model}, got {tuple(other.input_size)}"
        )
    if hierarchy_of(other).classes != hierarchy_of(entry).classes:
        raise ModelLoadError(f"{name}: expected the classes of {entry.model}, got those of {other.dataset}")
    loaded = zoo.load(other)
    if transfer.weights_sha256 not in (None, loaded.weights_sha256):
        raise ModelLoadError(f"{name}: its weights have changed since the scan began: scan again")
    return {key: asdict(other)[key] for key in ("architecture", "preprocessing")}, loaded
