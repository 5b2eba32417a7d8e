"""What ``torch.save`` wrote, read by torch's ``weights_only`` unpickler alone: nothing of a file is ever run.

Training scripts save options, counters and paths beside the weights. Nobody needs them here, so the classes of such
objects are never imported: inert stand-ins of this module take their place and forget what they are given.
"""

import pickle
import re
import sys
import warnings
from collections import OrderedDict
from typing import Any, BinaryIO

import torch

from auditor.errors import ModelLoadError, one_line

MOST_CLASSES = 200
"""A file that names more classes is refused: each costs one reading of it."""


class Forgotten:
    """Stands for a value such as a path, a date or a NumPy number; keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Forgotten":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


class _Items(list[Any]):
    """Stands for a deque."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


class _Mapping:
    """Stands for an object with attributes or items, of which the items are kept, and the name of its class."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        items: OrderedDict[Any, Any] = OrderedDict()
        items.__dict__["stands_for"] = cls.__name__
        return items


class _Unknown(type):
    """Of what stands for another package's class or function; a call of a function is refused, and not made.

    A class, such as an enumeration, begins with a capital.
    """

    def __call__(cls, *_: Any, **__: Any) -> Any:
        if cls.__name__.rpartition(".")[2][:1].isupper():
            return Forgotten()
        raise pickle.UnpicklingError(f"GLOBAL {cls.__name__} is called")


STAND_INS: dict[str, type] = {
    **dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict"), _Mapping),
    "collections.deque": _Items,
    **dict.fromkeys(
        (
            *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "object")),
            *(f"builtins.{name}" for name in ("range", "slice", "str", "tuple", "type")),
            *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
            *(
                f"pathlib{part}.{kind}Path"
                for part in ("", "._local")
                for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
            ),
            *("copyreg._reconstructor", "decimal.Decimal", "fractions.Fraction", "functools.partial"),
            *("typing.Any", "typing.Dict", "typing.List", "typing.Optional", "typing.Union", "uuid.UUID"),
            "torch.torch_version.TorchVersion",
        ),
        Forgotten,
    ),
}
"""By name, what stands for the data classes of Python's own library, whose pickles call them."""

NUMPY = re.compile(
    r"numpy\.((_?core)\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)|ndarray|dtype|dtypes\.\w+"
    r"|(bool|u?int|float|complex|str|bytes|object|datetime|timedelta)\w*"
    r"|random\..+)"
)
TORCH = re.compile(r"torch\.(nn|_C\._nn|optim|amp\.grad_scaler|cuda\.amp\.grad_scaler)\..+")
"""Losses, layers as arguments, optimizers."""


def class_of(value: Any) -> str:
    """The class of an object that is not there, only what stands for it; empty for anything else."""
    name = getattr(value, "stands_for", "") if isinstance(value, OrderedDict) else ""
    return name if isinstance(name, str) and "." in name else ""


def load_torch(file: BinaryIO, name: str) -> Any:
    """The tensors and plain values of a file that ``torch.save`` wrote.

    Raises:
        ModelLoadError: it is damaged, or its pickle asks for what could run. Torch's own advice, to try again without
            ``weights_only``, is not passed on.
    """
    stand_ins = {**STAND_INS}
    while True:
        file.seek(0)
        try:
            with (
                warnings.catch_warnings(action="ignore"),  # of pickles of other protocols, which fail or do not
                torch.serialization.safe_globals([(kind, known) for known, kind in stand_ins.items()]),
            ):
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged or hostile file may raise anything
            wanted = re.search(r"GLOBAL `?([\w.]*\w)", str(error))
            stand_in = _stand_in(wanted[1]) if wanted and wanted[1] not in stand_ins else None
            if wanted is None or stand_in is None or len(stand_ins) > MOST_CLASSES:
                raise ModelLoadError(f"{name} {_reason(file, wanted and wanted[1], str(error))}") from error
            stand_ins[wanted[1]] = stand_in


def _stand_in(name: str) -> type | None:
    """What stands for a class of another package; None for what might be more than data."""
    root, dot, _ = name.partition(".")
    if NUMPY.fullmatch(name):
        return Forgotten
    if TORCH.fullmatch(name) or (dot and root not in ("torch", "numpy", *sys.stdlib_module_names)):
        return _Unknown(name, (_Mapping,), {})
    return None


def _reason(file: BinaryIO, wanted: str | None, said: str) -> str:
    if wanted:
        return (
            f"is refused: its pickle asks for {one_line(wanted)}, which is no tensor, and nothing of it was run; "
            "save the state dict alone, best as safetensors"
        )
    if "persistent_load" in said:  # which the format of old used for the source code of modules
        return "holds a whole module, not only a state dict, and nothing of it was run; save model.state_dict()"
    if "TorchScript" in said:
        return "is a TorchScript program, expected a state dict: save model.state_dict()"
    if "Unsupported operand" in said:
        return "has a pickle of another protocol than torch's own, or a damaged one: save it without pickle_protocol"
    file.seek(0)
    kind = "zip, but no whole torch checkpoint" if file.read(2) == b"PK" else "damaged torch checkpoint"
    return f"is a {kind}; nothing of it was run"
