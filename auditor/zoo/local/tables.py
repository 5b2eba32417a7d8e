"""The tables of a zoo.toml, checked field by field so that all mistakes are reported at once."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from auditor.records.norms import NORM_NAMES, NormName
from auditor.text.eps import parse_eps
from auditor.text.printable import check_printable
from auditor.zoo.local.datasets import LARGEST_SIDE, Dataset, InputSize, check_name, known_dataset, suggest
from auditor.zoo.local.graphs import NAMES, Kind, kind_of
from auditor.zoo.local.mlflow_registry import check_registered, is_registered
from auditor.zoo.local.text import check_path

NONE = "none"
LONGEST_DESCRIPTION = 1000
FIXED_BY_THE_FILE = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "features_only")


@dataclass(frozen=True)
class ZooContext:
    """The context of a model's table: the folder and the data sets of the file, None for those with mistakes."""

    folder: Path
    datasets: dict[str, Dataset | None] = field(default_factory=dict)


def _context(info: ValidationInfo) -> ZooContext:
    assert isinstance(info.context, ZooContext)
    return info.context


def resolve_inside(folder: Path, name: str) -> Path:
    """The path of the file ``name`` in a folder, with links resolved.

    Raises:
        ValueError: the path leads out of the folder, or is a link to itself.
    """
    try:
        path = (folder / name).resolve()
        within = path.is_relative_to(folder.resolve())
    except (RuntimeError, OSError) as error:  # RuntimeError: a link that leads to itself
        raise ValueError(f"{name!r} is a link to itself: replace it by the file") from error
    if not within:
        raise ValueError(f"{name!r} leads out of the folder: put the file itself into the folder")
    return path


def _norm(value: Any) -> Any:
    if value not in NORM_NAMES:
        raise ValueError(f"expected Linf, L2 or L1, got {value!r}; {suggest(value, NORM_NAMES)}")
    return value


def _channels(value: Any) -> Any:
    """One number for each channel; ``none`` becomes an empty tuple."""
    if value == NONE:
        return ()
    if not isinstance(value, list) or not value or any(type(number) not in (int, float) for number in value):
        raise ValueError(f"expected a list of numbers, one for each channel, or 'none', got {value!r}")
    return tuple(float(number) for number in value)


def _side(value: Any) -> Any:
    """Pixels, (height, width), or 0 for ``none``, which leaves pictures unchanged."""
    if value == NONE:
        return 0
    if type(value) is int and 0 < value <= LARGEST_SIDE:
        return value
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 0 < side <= LARGEST_SIDE for side in value)
    ):
        return tuple(value)
    raise ValueError(f"expected pixels, [height, width] or 'none', got {value!r:.100}")


def _printable_description(value: str) -> str:
    if len(value) > LONGEST_DESCRIPTION:
        raise ValueError(f"expected at most {LONGEST_DESCRIPTION} characters, got {len(value)}")
    return check_printable(value)


def _kind_of_picture(value: Any) -> Any:
    """``grey`` or ``rgb``, which may be given as the number of channels."""
    kinds = {"grey": "grey", "gray": "grey", "l": "grey", "1": "grey", "rgb": "rgb", "3": "rgb"}
    if type(value) in (int, str) and str(value).lower() in kinds:
        return kinds[str(value).lower()]
    raise ValueError(f"expected 'grey' or 'rgb' (1 or 3 channels), got {value!r:.60}")


Numbers = Annotated[tuple[float, ...], BeforeValidator(_channels)]
Sides = Annotated[int | tuple[int, int], BeforeValidator(_side)]


class Architecture(BaseModel):
    """``{timm = "resnet18", kwargs = {…}}`` or ``{python = "file.py:function", kwargs = {…}}``."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    timm: str | None = None
    python: str | None = None
    kwargs: dict[str, Any] = {}

    @field_validator("timm")
    @classmethod
    def _registered(cls, value: str) -> str:
        if not re.fullmatch(r"\w+(\.\w+)?", value):
            raise ValueError(f"expected one of timm's own names, such as 'resnet18', got {value!r}")
        return value

    @field_validator("python")
    @classmethod
    def _function(cls, value: str, info: ValidationInfo) -> str:
        file, _, function = check_path(value).rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            raise ValueError(f"expected 'file.py:function', got {value!r}")
        path = resolve_inside(_context(info).folder, file)
        if not path.is_file():
            raise ValueError(f"there is no file {file!r} in the folder")
        return value

    @field_validator("kwargs")
    @classmethod
    def _allowed(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        fixed = [key for key in value if key in FIXED_BY_THE_FILE and info.data.get("timm")]
        if fixed:
            raise ValueError(f"{', '.join(fixed)} cannot be set here, because the weights come only from the file")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError("expected only finite numbers, strings, booleans, lists and tables") from error
        return value

    @model_validator(mode="after")
    def _one(self) -> "Architecture":
        if self.is_ambiguous() and not self.model_extra:
            raise ValueError("expected either timm or python")
        return self

    def is_ambiguous(self) -> bool:
        """Whether neither or both are given; a misspelt key is reported separately."""
        return (self.timm is None) == (self.python is None)


class Model(BaseModel):
    """One ``[[models]]`` table; the order of the fields is that of the checks."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, arbitrary_types_allowed=True)

    name: str = Field(description="the NAME in local:NAME")
    weights: str = Field(description="the name of the weight file in the folder")
    norm: Annotated[NormName, BeforeValidator(_norm)] = Field(description="Linf, L2 or L1")
    eps: Annotated[float, BeforeValidator(parse_eps)] = Field(description="the attack radius, such as '8/255'")
    dataset: Dataset | None = Field(description="the name of a data set, or a table with path, classes, superclasses")
    architecture: Architecture | None = Field(None, validate_default=True)
    input_size: InputSize | None = None
    channels: Annotated[Literal["grey", "rgb"], BeforeValidator(_kind_of_picture)] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    resize: Sides | None = None
    crop: Sides | None = None
    description: Annotated[str, AfterValidator(_printable_description)] | None = None
    threat_model: Annotated[str, Field(min_length=1), AfterValidator(check_name)] | None = None
    sha256: str | None = None
    key: str | None = None
    prefix: str | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.+=@/-]+", value):
            raise ValueError(f"expected letters, digits and . _ - + = @ /, got {value!r:.100}")
        return check_name(value)

    @field_validator("weights")
    @classmethod
    def _inside(cls, value: str, info: ValidationInfo) -> str:
        """Check only the name: a link is resolved when the model is loaded, so that a bad one fails only that model."""
        if is_registered(value):
            if kind_of(value) == "export":
                raise ValueError(f"{NAMES['export']} must be a file in the folder, because it can run code")
            return check_registered(value)
        value = check_path(value)
        if "://" in value:
            raise ValueError("expected the name of a file in the folder, got an address: download the file first")
        if not value or "\0" in value or Path(value).is_absolute() or os.path.normpath(value).startswith(".."):
            raise ValueError(f"{value!r} leads out of the folder: put the file itself into the folder")
        if "\\" in value and not (_context(info).folder / value).exists():
            raise ValueError(f"there is no file {value!r} in the folder: write paths with forward slashes")
        return value

    @field_validator("architecture", mode="before")
    @classmethod
    def _graph_or_network(cls, value: Any, info: ValidationInfo) -> Any:
        weights = info.data.get("weights", "")
        kind = kind_of(weights)
        if value is None and kind is None:
            # what a version of the registry holds is known only after a download, which listing does not start
            onnx = f', or weights = "{weights}#FILE.onnx"' if is_registered(weights) and "#" not in weights else ""
            raise ValueError(f'missing: {{timm = "resnet18"}} or {{python = "file.py:function"}}{onnx}')
        if value is not None and kind is not None:
            raise ValueError(f"leave it out, because {NAMES[kind]} holds the network itself")
        return value

    @field_validator("key", "prefix")
    @classmethod
    def _of_state_dicts(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = kind_of(info.data.get("weights", ""))
        if value is not None and kind is not None:
            raise ValueError(f"leave it out, because {NAMES[kind]} holds no state dicts to choose from")
        return value

    @field_validator("eps")
    @classmethod
    def _room(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "Linf" and value > 1:
            raise ValueError(f"expected an Linf radius of at most 1, in units of the [0, 1] pixels, got {value:g}")
        return value

    @field_validator("dataset", mode="before")
    @classmethod
    def _resolved(cls, value: Any, info: ValidationInfo) -> Dataset | None:
        if value is None or isinstance(value, Dataset):  # a table, read before
            return value
        if not isinstance(value, str):
            raise ValueError(f"expected the name of a data set, or a table, got {value!r:.60}")
        datasets = _context(info).datasets
        return datasets[value] if value in datasets else known_dataset(value, datasets)

    @field_validator("mean")
    @classmethod
    def _in_pixels(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not -1 <= number <= 1 for number in value):
            raise ValueError(f"expected means of [0, 1] pixels, got {list(value)}: divide them by 255?")
        return value

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if any(not 0 < number <= 1 for number in value):
            raise ValueError(
                f"expected standard deviations of [0, 1] pixels, above 0, got {list(value)}: divide them by 255?"
            )
        mean = info.data.get("mean")
        if mean is not None and bool(mean) != bool(value):
            raise ValueError("expected 'none' for both mean and std, or numbers for both")
        if mean is not None and len(mean) != len(value):
            raise ValueError(f"expected {len(mean)} numbers, as many as in mean, got {len(value)}")
        return value

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError(f"expected 64 hexadecimal digits, got {value!r:.20}")
        return value.lower()

    @property
    def graph(self) -> Kind | None:
        """The kind of file that holds the whole network; None where ``architecture`` says what it is."""
        return kind_of(self.weights)

    @property
    def timm_name(self) -> str | None:
        return self.architecture.timm if self.architecture else None
