"""The attacks that a scan adds to its protocol, from the words of a command.

Runs no attack. The models to transfer from are loaded, for the digests of their weights; **that may run their code**,
if it is trusted.
"""

from collections.abc import Sequence
from pathlib import Path

from auditor.errors import UsageError, one_line
from auditor.records.extra_attacks import AttackFile, ExtraAttacks, TransferModel
from auditor.user_code.digest import code_digest
from auditor.zoo import SOURCES, check_installed, find_source, select
from auditor.zoo.local import LocalZoo, runs_code


def find_extra_attacks(
    files: Sequence[str],
    models: Sequence[str],
    *,
    folder: Path | None,
    transfer_zoo: Path | None,
    trust_code: bool,
) -> ExtraAttacks | None:
    """The attacks; None without any.

    Args:
        files: ``FILE.py:FUNCTION``.
        models: ``SOURCE:MODEL``.
        folder: the folder of the scanned zoo, where a model ``local:NAME`` is looked for without ``transfer_zoo``.
        transfer_zoo: the folder of another local zoo.
        trust_code: whether code of users may run.

    Raises:
        UsageError: a file, a function's name or a model is missing; two attacks have one name; code is not trusted.
    """
    if transfer_zoo is not None and not any(model.startswith("local:") for model in models):
        raise UsageError("--transfer-zoo needs --transfer-from local:MODEL")
    if not files and not models:
        return None
    own = tuple(_attack_file(text, trust_code) for text in dict.fromkeys(files))
    names = [one.name for one in own]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"--attack: two attacks are named {twice}: rename one of the files or functions")
    transfer = tuple(_transfer_model(model, transfer_zoo or folder, trust_code) for model in dict.fromkeys(models))
    return ExtraAttacks(transfer=transfer, own=own)


def _attack_file(text: str, trust_code: bool) -> AttackFile:
    path, separator, function = text.rpartition(":")
    if not separator or not path.endswith(".py") or not function.isidentifier():
        raise UsageError(f"--attack: expected FILE.py:FUNCTION, got {one_line(repr(text))}")
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"--attack: no such file: {file}")
    if not trust_code:
        raise UsageError(f"--attack runs Python code of {file}: read that code and add --trust-code")
    try:
        digest = code_digest(file.parent, file)
    except OSError as error:
        raise UsageError(f"--attack: cannot read the code of {file}: {error.strerror}") from error
    return AttackFile(path=str(file), function=function, sha256=digest)


def _transfer_model(model: str, local_zoo: Path | None, trust_code: bool) -> TransferModel:
    source, separator, _ = model.partition(":")
    if not separator or source not in SOURCES:
        raise UsageError(
            f"--transfer-from: expected SOURCE:MODEL with one of {', '.join(SOURCES)}, got {one_line(repr(model))}"
        )
    folder = None
    if source == "local":
        if local_zoo is None:
            raise UsageError(f"--transfer-from {model} needs the folder of its local zoo: add --transfer-zoo DIR")
        folder = local_zoo.expanduser().absolute()
    check_installed(source)
    zoo = find_source(source, folder, trust_code=trust_code)
    (entry,) = select(zoo.entries(), models=(model,))
    if isinstance(zoo, LocalZoo):
        zoo.check([entry])
    needs_trust = trust_code and runs_code(entry)
    return TransferModel(
        model=entry.model,
        folder=None if folder is None else str(folder),
        trust_code=needs_trust,
        weights_sha256=zoo.load(entry).weights_sha256,
    )
