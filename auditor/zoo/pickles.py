"""Files of ``torch.save``, read only by torch's ``weights_only`` unpickler: no code of a file ever runs.

Training scripts save options, counters and paths with the weights. Auditor does not need them, so the classes of such
objects are never imported: inert stand-ins of this module replace them and discard their arguments.
"""

import pickle
import re
import sys
import warnings
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO

import torch

from auditor.errors import ModelLoadError, one_line
from auditor.files import check_expansion

MOST_CLASSES = 200
"""A file that names more classes is refused, because each class costs one more pass over the file."""


class Discarded:
    """Stand-in for a value such as a path, a date or a NumPy number; keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Discarded":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


class _Items(list[Any]):
    """Stand-in for a deque."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


class _Mapping:
    """Stand-in for an object with attributes or items; keeps the items and the name of the class."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        items: OrderedDict[Any, Any] = OrderedDict()
        items.__dict__["stands_for"] = cls.__name__
        return items


class _Unknown(type):
    """Metaclass of stand-ins for another package's class or function; calls of functions are refused.

    The name of a class, such as an enumeration, begins with a capital.
    """

    def __call__(cls, *_: Any, **__: Any) -> Any:
        if cls.__name__.rpartition(".")[2][:1].isupper():
            return Discarded()
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
        Discarded,
    ),
}
"""Stand-ins by name for data classes of the standard library, which pickles call."""

NUMPY = re.compile(
    r"numpy\.((_?core)\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)|ndarray|dtype|dtypes\.\w+"
    r"|(bool|u?int|float|complex|str|bytes|object|datetime|timedelta)\w*"
    r"|random\..+)"
)
TORCH = re.compile(r"torch\.(nn|_C\._nn|optim|amp\.grad_scaler|cuda\.amp\.grad_scaler)\..+")
"""Losses, layers as arguments, optimizers."""


def class_of(value: Any) -> str:
    """The class of the object that a stand-in replaces; empty for anything else."""
    name = getattr(value, "stands_for", "") if isinstance(value, OrderedDict) else ""
    return name if isinstance(name, str) and "." in name else ""


def load_torch(file: BinaryIO, name: str) -> Any:
    """The tensors and plain values of a file that ``torch.save`` wrote.

    Raises:
        ModelLoadError: the file is damaged, or its pickle asks for code. The message leaves out torch's advice to try
            again without ``weights_only``.
    """
    _refuse_bomb(file, name)
    stand_ins = {**STAND_INS}
    while True:
        file.seek(0)
        try:
            with (
                warnings.catch_warnings(action="ignore"),  # about pickles of other protocols
                torch.serialization.safe_globals([(kind, known) for known, kind in stand_ins.items()]),
            ):
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged or hostile file may raise anything
            requested = re.search(r"GLOBAL `?([\w.]*\w)", str(error))
            stand_in = _stand_in(requested[1]) if requested and requested[1] not in stand_ins else None
            if requested is None or stand_in is None or len(stand_ins) > MOST_CLASSES:
                raise ModelLoadError(f"{name} {_reason(file, requested and requested[1], str(error))}") from error
            stand_ins[requested[1]] = stand_in


def _refuse_bomb(file: BinaryIO, name: str) -> None:
    try:
        check_expansion(file)
    except (OSError, zipfile.BadZipFile):  # torch's older format, or a damaged file
        return
    except ValueError as error:
        raise ModelLoadError(f"{name} is {error}") from error


def _stand_in(name: str) -> type | None:
    """The stand-in for a class of another package; None for a class that may be more than data."""
    root, dot, _ = name.partition(".")
    if NUMPY.fullmatch(name):
        return Discarded
    if TORCH.fullmatch(name) or (dot and root not in ("torch", "numpy", *sys.stdlib_module_names)):
        return _Unknown(name, (_Mapping,), {})
    return None


def _reason(file: BinaryIO, requested: str | None, message: str) -> str:
    if requested:
        return (
            f"is refused: its pickle asks for {one_line(requested)}, which is no tensor, and none of its code was run; "
            "save only the state dict, preferably as safetensors"
        )
    if "persistent_load" in message:  # the old format used it for the source code of modules
        return "holds a whole module, not only a state dict, and none of its code was run; save model.state_dict()"
    if "TorchScript" in message:
        return "is a TorchScript program, expected a state dict: save model.state_dict()"
    if "Unsupported operand" in message:
        return "has a pickle of another protocol than torch's own, or a damaged one: save it without pickle_protocol"
    file.seek(0)
    kind = "zip, but no complete torch checkpoint" if file.read(2) == b"PK" else "damaged torch checkpoint"
    return f"is a {kind}; none of its code was run"
