"""transformers' image classifiers, described and loaded from snapshots; importing this module takes seconds.

Only the library's own classes are used: a repository's code never runs, whatever its configuration says.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from auditor.errors import ModelLoadError, describe
from auditor.zoo.hub.labels import labels_of
from auditor.zoo.hub.processors import Preprocessing, check_processor, describe_processor, read_processor
from auditor.zoo.hub.snapshots import CONFIG, DESCRIPTIONS, Snapshot, read_json, read_weights
from auditor.zoo.weights import check_finite

SEED = 0
VERSION = transformers.__version__
NOT_THE_NETWORK = {
    "architectures", "attn_implementation", "dtype", "id2label", "label2id", "num_labels", "torch_dtype",
    "transformers_version",
}  # fmt: skip
"""Keys of config.json that do not describe the network; names that begin with an underscore do not, either."""


def describe_snapshot(snapshot: Snapshot) -> tuple[dict[str, Any], tuple[str, ...], Preprocessing, int]:
    """The architecture for an entry, the K names of the classes, the preprocessing, and the channels of the input.

    Raises:
        ModelLoadError: the snapshot is no image classifier that transformers can construct by itself.
    """
    where = snapshot.id
    raw = read_json(snapshot.folder / CONFIG)
    for name in DESCRIPTIONS:
        path = snapshot.folder / name
        if path.exists() and read_json(path).get("auto_map"):
            raise ModelLoadError(
                f"{where}: {name} names Python code of the repository (auto_map), which auditor never runs; "
                "use the model in a local zoo with that code, after reading it"
            )
    if raw.get("quantization_config"):
        raise ModelLoadError(f"{where}: quantized weights are not supported: use the model from before")
    if (snapshot.folder / "adapter_config.json").exists():
        raise ModelLoadError(f"{where}: an adapter is no whole model: merge it into its base model, and save that")
    given = raw.get("architectures")
    architecture = given[0] if isinstance(given, list) and given else given
    _class_of(architecture, where)
    if raw.get("problem_type") not in (None, "single_label_classification"):
        raise ModelLoadError(f"{where}: expected one class for each picture, got problem_type {raw['problem_type']!r}")
    with _quiet():
        try:
            complete = AutoConfig.from_pretrained(snapshot.folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # the library raises whatever its parts raise
            raise ModelLoadError(f"{where}: {CONFIG} is refused by transformers: {describe(error)}") from error
        labels = labels_of(complete.id2label, where)
        channels = int(getattr(complete, "num_channels", None) or 3)
        found = describe_processor(read_processor(snapshot.folder), channels, where)
    kept = {key: value for key, value in raw.items() if key not in NOT_THE_NETWORK and not key.startswith("_")}
    return {"transformers": architecture, "config": kept, "version": VERSION}, labels, found, channels


def construct(architecture: dict[str, Any], classes: int) -> nn.Module:
    """The network with random weights, always the same; it returns an object with ``logits``.

    Raises:
        ModelLoadError: transformers cannot construct it.
    """
    kind = _class_of(architecture["transformers"], "architecture")
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            network: nn.Module = kind(_config(architecture, classes))
        except Exception as error:  # the library's own code
            raise ModelLoadError(f"transformers cannot construct {kind.__name__}: {describe(error)}") from error
    return network.float()


def load(snapshot: Snapshot, architecture: dict[str, Any], classes: int) -> nn.Module:
    """The network with the weights of a snapshot in float32; every weight must be there, and fit.

    Raises:
        ModelLoadError: the image processor does more than the entry says, or the weights do not fill the network.
    """
    kind = _class_of(architecture["transformers"], snapshot.id)
    state = read_weights(snapshot)
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            network, info = kind.from_pretrained(
                None,
                config=_config(architecture, classes),
                state_dict=state,
                output_loading_info=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
        except Exception as error:  # the library's own code, such as shapes that do not fit
            raise ModelLoadError(f"{snapshot.id}: transformers cannot load it: {describe(error)}") from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, info[what])):
            raise ModelLoadError(f"{snapshot.id}: {len(keys)} {what.replace('_', ' ')}, the first is {keys[0]!r}")
    loaded: nn.Module = network.float()
    check_finite(loaded.state_dict(), snapshot.id)
    return loaded


def check_preprocessing(snapshot: Snapshot, channels: int) -> None:
    """Raises ModelLoadError if the image processor does more than its description says."""
    with _quiet():
        processor = read_processor(snapshot.folder)
        found = describe_processor(processor, channels, snapshot.id)
        check_processor(processor, found, channels, snapshot.id)


def _class_of(name: Any, where: str) -> Any:
    """The library's class of this name, if it classifies images."""
    known: set[str] = set()
    for names in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.values():
        known |= {names} if isinstance(names, str) else set(names)
    if not isinstance(name, str) or name not in known:
        raise ModelLoadError(
            f"{where}: expected an image classifier of transformers {VERSION}, such as ViTForImageClassification, "
            f"got architectures {name!r:.60} in {CONFIG}"
        )
    return getattr(transformers, name)


def _config(architecture: dict[str, Any], classes: int) -> Any:
    return AutoConfig.for_model(**architecture["config"], num_labels=classes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings and progress bars, which address programmers, from users."""
    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
