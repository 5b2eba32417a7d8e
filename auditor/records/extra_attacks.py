"""Attacks of users, beyond those of a protocol: their own functions, and adversarials made on other models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AttackFile:
    """A function of a Python file.

    Attributes:
        path: the file's absolute path, on each machine that runs it.
        function: its name.
        sha256: the digest of the file and of the files beside it that it imports.
    """

    path: str
    function: str
    sha256: str

    @property
    def name(self) -> str:
        """``file.py:function``."""
        return f"{Path(self.path).name}:{self.function}"


@dataclass(frozen=True, kw_only=True)
class TransferModel:
    """A model, ``source:id``, on which adversarials are made.

    Attributes:
        folder: the absolute folder of its zoo.
        trust_code: whether code of the zoo may run.
        weights_sha256: the digest of its weights when the scan began; None in requests that are older than the field.
    """

    model: str
    folder: str | None = None
    trust_code: bool = False
    weights_sha256: str | None = None

    @property
    def label(self) -> str:
        """``transfer from demo:standard@1a2b3c4d``."""
        digest = "" if self.weights_sha256 is None else f"@{self.weights_sha256[:8]}"
        return f"transfer from {self.model}{digest}"


@dataclass(frozen=True, kw_only=True)
class ExtraAttacks:
    """What runs after a protocol's attacks, on what survived them: transferred adversarials, then own attacks."""

    transfer: tuple[TransferModel, ...] = ()
    own: tuple[AttackFile, ...] = ()

    @property
    def label(self) -> str:
        """``transfer from demo:standard@5e6f7a8b, cw.py:attack@1a2b3c4d``; another label is of another series."""
        return ", ".join([*(one.label for one in self.transfer), *(f"{one.name}@{one.sha256[:8]}" for one in self.own)])

    @property
    def runs_code(self) -> bool:
        """Whether it runs Python code of users, or may do so."""
        return bool(self.own) or any(one.trust_code for one in self.transfer)


def attacks_in(stored: dict[str, Any] | None) -> ExtraAttacks | None:
    """The extra attacks of a stored request; None without any."""
    if stored is None:
        return None
    transfer = tuple(TransferModel(**one) for one in stored["transfer"])
    return ExtraAttacks(transfer=transfer, own=tuple(AttackFile(**one) for one in stored["own"]))


def attacks_label(stored: dict[str, Any] | None) -> str | None:
    """The label of the extra attacks of a stored request; None without any."""
    extra = attacks_in(stored)
    return None if extra is None else extra.label
