"""timm's networks from snapshots whose config.json has an ``architecture``; needs timm."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auditor.errors import ModelLoadError, first_line
from auditor.records import Transform
from auditor.zoo.hub.snapshots import CONFIG, Snapshot, read_json, read_weights
from auditor.zoo.timm import create_model, import_timm, transform_of

if TYPE_CHECKING:
    from torch import nn

FORBIDDEN = {
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "scriptable", "device",
    "dtype",
}  # fmt: skip
"""Arguments of timm.create_model that a repository may not set: they load other files, or choose where and how
precisely the network computes, which newer versions of timm allow."""


def read_config(snapshot: Snapshot) -> tuple[dict[str, Any], Any]:
    """The architecture for an entry, and timm's ``PretrainedCfg`` with the classes and the preprocessing.

    Raises:
        ModelLoadError: timm does not know the architecture, or the configuration is incomplete.
        EnvironmentUnusableError: timm is not installed.
    """
    timm, raw = import_timm(), read_json(snapshot.folder / CONFIG)
    from timm.models import PretrainedCfg, is_model

    given = raw.get("pretrained_cfg", raw)
    arguments = raw.get("model_args") or {}
    name = raw.get("architecture")
    if not isinstance(name, str) or not isinstance(given, dict) or not isinstance(arguments, dict):
        raise ModelLoadError(f"{snapshot.id}: expected architecture, pretrained_cfg and model_args in {CONFIG}")
    if not is_model(name):
        raise ModelLoadError(f"{snapshot.id}: timm {timm.__version__} has no architecture {name!r:.60}")
    if refused := FORBIDDEN & arguments.keys():
        raise ModelLoadError(f"{snapshot.id}: model_args in {CONFIG} may not hold {sorted(refused)[0]!r}")
    known = {key: value for key, value in given.items() if key in PretrainedCfg.__dataclass_fields__}
    own = {key: raw[key] for key in ("num_classes", "label_names") if raw.get(key) is not None}
    names = {"label_names": given["labels"]} if "labels" in given else {}
    from_elsewhere = dict.fromkeys(("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source"))
    try:
        config = PretrainedCfg(**{**known, **names, **own, **from_elsewhere})
        classes = int(config.num_classes)
        channels, height, width = map(int, config.input_size)
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"{snapshot.id}: {CONFIG} is not one of timm's: {first_line(error)}") from error
    size = {"img_size": [height, width]} if config.fixed_input_size else {}
    kwargs = {"in_chans": channels, **size, **arguments, "num_classes": classes}
    return {"timm": name, "kwargs": kwargs, "version": timm.__version__}, config


def describe(config: Any) -> tuple[tuple[str, ...], dict[str, Any], Transform, tuple[int, int, int]]:
    """The names of the classes, the normalization, the transform and the input size of timm's configuration."""
    channels, height, width = map(int, config.input_size)
    names = config.label_names or [str(number) for number in range(config.num_classes)]
    preprocessing = {"mean": list(map(float, config.mean)), "std": list(map(float, config.std))}
    size = (channels, height, width)
    return tuple(map(str, names)), preprocessing, transform_of(config, size), size


def construct(architecture: dict[str, Any]) -> "nn.Module":
    """The network with random weights, always the same. Raises ModelLoadError if timm cannot construct it."""
    return create_model(architecture["timm"], trained=False, arguments=architecture["kwargs"])


def load(snapshot: Snapshot, architecture: dict[str, Any]) -> "nn.Module":
    """The network with the weights of a snapshot. Raises ModelLoadError if they do not fill it."""
    config = replace(read_config(snapshot)[1], state_dict=read_weights(snapshot))
    try:
        return create_model(architecture["timm"], trained=True, config=config, arguments=architecture["kwargs"])
    except ModelLoadError as error:
        raise ModelLoadError(f"{snapshot.id}: {error}") from error
