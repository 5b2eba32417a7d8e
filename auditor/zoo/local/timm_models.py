"""timm's architectures, imported without warnings; importing this module takes seconds."""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm uses deprecated names
    import timm

from timm.models import get_pretrained_cfg, is_model

from auditor.errors import ModelLoadError, first_line
from auditor.zoo.local.datasets import Size, suggest


@dataclass(frozen=True)
class Defaults:
    """The values of timm's pretrained_cfg: input size ``(C, H, W)``, normalization and transform."""

    input_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_fraction: float
    squash: bool


def check_name(name: str) -> None:
    """Check that timm has a network of this name, and the tag after the point if there is one.

    Raises:
        ValueError: timm does not have it; the message suggests similar names.
    """
    if not is_model(name):
        raise ValueError(f"timm {timm.__version__} has no architecture {name!r}; {_suggest_architecture(name)}")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        architecture, _, tag = name.partition(".")
        tags = [other.partition(".")[2] for other in timm.list_pretrained(f"{architecture}.*")]
        raise ValueError(
            f"timm {timm.__version__} has no tag {tag!r} of {architecture}; {suggest(tag, tags)}"
        ) from error


def defaults_of(name: str) -> Defaults | None:
    """The pretrained_cfg of a name; None if timm has none.

    Raises:
        ValueError: timm has no network of this name.
    """
    check_name(name)
    found = get_pretrained_cfg(name)
    if found is None:
        return None
    channels, height, width = found.input_size
    return Defaults(
        input_size=(channels, height, width),
        mean=tuple(float(number) for number in found.mean),
        std=tuple(float(number) for number in found.std),
        interpolation=found.interpolation,
        crop_fraction=float(found.crop_pct),
        squash=found.crop_mode == "squash",
    )


def create(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """Construct the network with random weights; downloads nothing.

    Raises:
        ModelLoadError: timm does not know the name, or cannot construct it with these arguments.
    """
    try:
        check_name(name)
        model: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
    except ValueError as error:
        raise ModelLoadError(first_line(error)) from error
    except Exception as error:  # timm passes the arguments on to each network's own code
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ModelLoadError(f"timm cannot construct {name} with {kwargs}: {reason}") from error
    return model


def _suggest_architecture(name: str) -> str:
    hint = suggest(name.partition(".")[0], timm.list_models())
    return hint if hint.startswith("did") else "timm.list_models() lists its names"
