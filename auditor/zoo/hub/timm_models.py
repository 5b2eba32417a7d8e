"""timm's networks from snapshots whose config.json has an ``architecture``; needs timm."""

from typing import TYPE_CHECKING, Any

from auditor.errors import ModelLoadError, first_line, one_line
from auditor.records import Transform
from auditor.zoo.hub.snapshots import CONFIG, Snapshot, read_json, read_weights
from auditor.zoo.timm import UNTRAINED_SEED, import_timm, transform_of, watched_loading

if TYPE_CHECKING:
    from torch import nn

FORBIDDEN = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "scriptable"}
"""Arguments of timm.create_model that a repository may not set: they load other files."""


def read_config(snapshot: Snapshot) -> tuple[dict[str, Any], Any]:
    """The architecture for an entry, and timm's ``PretrainedCfg`` with the classes and the preprocessing.

    Raises:
        ModelLoadError: timm does not know the architecture, or the configuration is incomplete.
    """
    from timm.models import PretrainedCfg, is_model

    timm, raw = import_timm(), read_json(snapshot.folder / CONFIG)
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
    return _create(architecture, None, None, "")


def load(snapshot: Snapshot, architecture: dict[str, Any]) -> "nn.Module":
    """The network with the weights of a snapshot. Raises ModelLoadError if they do not fill it."""
    return _create(architecture, read_config(snapshot)[1], read_weights(snapshot), snapshot.id)


def _create(architecture: dict[str, Any], config: Any, state: Any, where: str) -> "nn.Module":
    import warnings
    from dataclasses import replace

    import torch

    timm = import_timm()
    with torch.random.fork_rng(devices=[]), watched_loading() as loads, warnings.catch_warnings(action="ignore"):
        torch.manual_seed(UNTRAINED_SEED)
        given = {} if state is None else {"pretrained_cfg": replace(config, state_dict=state)}
        try:
            model: nn.Module = timm.create_model(
                architecture["timm"], pretrained=state is not None, **given, **architecture["kwargs"]
            )
        except Exception as error:  # timm passes the arguments on to each network's own code
            raise ModelLoadError(f"{where}: timm cannot construct it: {one_line(str(error))}") from error
    missing = [key for load in loads for key in load.missing_keys]
    if state is not None and (not loads or missing):
        got = f"{len(missing)} keys are missing, the first is {missing[0]!r}" if missing else "no weights were loaded"
        raise ModelLoadError(f"{where}: {got}")
    return model
