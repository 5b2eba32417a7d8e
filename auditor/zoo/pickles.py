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
from auditor.zoo.state_dicts import first_names

MOST_CLASSES = 200
"""A file that names more classes is refused, because each class costs one more pass over the file."""


SAVE = "save only the state dict, preferably as safetensors"


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


class _Attributes(dict[str, Any]):
    """The attributes of a stand-in; a class with ``__slots__`` or ``__getstate__`` may have anything in their place."""

    def update(self, state: Any) -> None:  # type: ignore[override]
        if isinstance(state, dict):
            super().update(state)


class _Mapping:
    """Stand-in for an object with attributes or items; keeps the items and the name of the class."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return _items_of(cls.__name__)


def _items_of(name: str) -> OrderedDict[Any, Any]:
    """An empty dict in place of an object of the class with this name."""
    items: OrderedDict[Any, Any] = OrderedDict()
    items.__dict__ = _Attributes(stands_for=name)
    return items


class _Unknown(type):
    """Metaclass of stand-ins for another package's class or function; calls of functions are refused.

    The name of a class, such as an enumeration, begins with a capital. A class that is called without arguments may be
    a dict's subclass, whose items come later.
    """

    def __call__(cls, *arguments: Any, **_: Any) -> Any:
        if not _is_class(cls.__name__):
            raise pickle.UnpicklingError(f"GLOBAL {cls.__name__} is called")
        return Discarded() if arguments else _items_of(cls.__name__)


STAND_INS: dict[str, type] = {
    **dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict"), _Mapping),
    "collections.deque": _Items,
    **dict.fromkeys(
        (
            *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "object")),
            *(f"builtins.{name}" for name in ("range", "slice", "str", "tuple", "type", "Ellipsis")),
            *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
            *(
                f"pathlib{part}.{kind}Path"
                for part in ("", "._local")
                for kind in ("", "Posix", "Windows", "Pure", "PurePosix", "PureWindows")
            ),
            *("copyreg._reconstructor", "decimal.Decimal", "fractions.Fraction", "functools.partial"),
            *("typing.Any", "typing.Dict", "typing.List", "typing.Optional", "typing.Union", "uuid.UUID"),
            *("_operator.getitem", "_operator.or_", "functools.reduce"),  # of types such as Optional[int]
            *("array.array", "array._array_reconstructor", "re._compile", "time.struct_time", "logging.getLogger"),
            "torch.torch_version.TorchVersion",
        ),
        Discarded,
    ),
}
"""Stand-ins by name for data classes of the standard library, which pickles call."""

DATA_MODULES = (
    "collections", "decimal", "enum", "http", "ipaddress", "numbers", "optparse", "random", "re", "signal", "string",
    "types", "typing",
)  # fmt: skip
"""Modules of the standard library whose classes are data; a call of any other of its classes is refused."""

NUMPY = re.compile(
    r"numpy\.((_?core)\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)|ma\.core\._mareconstruct"
    r"|ndarray|dtype|dtypes\.\w+"
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
            if requested is None or requested[1] in stand_ins or len(stand_ins) > MOST_CLASSES:
                raise ModelLoadError(f"{name} {_reason(file, requested and requested[1], error)}") from error
            stand_ins[requested[1]] = _stand_in(requested[1])


def _refuse_bomb(file: BinaryIO, name: str) -> None:
    try:
        check_expansion(file)
    except (OSError, zipfile.BadZipFile):  # torch's older format, or a damaged file
        return
    except ValueError as error:
        raise ModelLoadError(f"{name} is {error}") from error


def _stand_in(name: str) -> type:
    """The stand-in for a class or function that torch's unpickler does not know."""
    return Discarded if NUMPY.fullmatch(name) else _Unknown(name, (_Mapping,), {})


def _is_class(name: str) -> bool:
    """Whether a name is that of a class whose objects are data or belong to another package."""
    root, last = name.partition(".")[0], name.rpartition(".")[2].lstrip("_")
    foreign = root not in ("torch", "numpy", *sys.stdlib_module_names) or TORCH.fullmatch(name)
    return last[:1].isupper() and (root in DATA_MODULES or bool(foreign))


def _reason(file: BinaryIO, requested: str | None, error: Exception) -> str:
    message = str(error)
    if requested:
        return (
            f"is refused: its pickle asks for {one_line(requested)}, which is no tensor, and none of its code was run; "
            f"{SAVE}"
        )
    if "persistent_load" in message:  # the old format used it for the source code of modules
        return "holds a whole module, not only a state dict, and none of its code was run; save model.state_dict()"
    if "TorchScript" in message:
        return "is a TorchScript program, expected a state dict: save model.state_dict()"
    if "Unsupported operand" in message:
        return "has a pickle of another protocol than torch's own, or a damaged one: save it without pickle_protocol"
    if "DTensor" in message:
        return "holds sharded tensors (DTensor): save a full state dict, with StateDictOptions(full_state_dict=True)"
    return _describe_unreadable(file, error)


def _describe_unreadable(file: BinaryIO, error: Exception) -> str:
    """What a file is that torch cannot read, although nothing in it asks for code."""
    file.seek(0)
    if file.read(2) != b"PK":
        return "is a damaged torch checkpoint; none of its code was run"
    try:
        names = zipfile.ZipFile(file).namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        names = []
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if pickles and not isinstance(error, RuntimeError):  # torch's reader of zips raises RuntimeError
        return f"holds objects that are neither tensors nor plain values, and none of its code was run; {SAVE}"
    if names and not pickles:
        return f"is a zip of {first_names(names)}, expected what torch.save writes: unpack or convert it"
    others = [name for name in names if name.partition("/")[0] != pickles[0].partition("/")[0]]
    also = f" (other entries: {first_names(others)})" if others else ""
    return f"is a zip, but no complete torch checkpoint{also}; none of its code was run"
