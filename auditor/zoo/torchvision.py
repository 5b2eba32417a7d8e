"""torchvision's registered classifiers and their weights, with the transforms that torchvision gives them.

``torchvision:resnet50.IMAGENET1K_V2`` is a trained network; ``torchvision:resnet50`` is the architecture with random
weights, as in ``torchvision.models.get_model``, and its audit is flagged ``untrained``. Quantized, detection,
segmentation, video and optical-flow models are in other registries of torchvision and are not listed.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.errors import ModelLoadError, one_line
from auditor.files import largest_file
from auditor.records import Transform, ZooEntry
from auditor.zoo.source import DEFAULT_EPS, RANDOM_WEIGHTS, LoadedModel
from auditor.zoo.weight_files import WeightFile, hub_weight_file, load_or_download

if TYPE_CHECKING:
    from torch import nn

SEED = 0
CLASSES = 1000
AUXILIARY: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
"""The networks with auxiliary heads, which give several outputs in training: without these heads. Their trained weights
normalize for another network's inputs (``transform_input``)."""


@dataclass(frozen=True)
class TorchvisionZoo:
    """The classifiers of the installed torchvision: trained ones first, then architectures with random weights."""

    preload: tuple[str, ...] = ("torchvision.models",)

    def entries(self) -> list[ZooEntry]:
        from torchvision import models

        names = models.list_models(module=models)
        weights = {name: [one for one in models.get_model_weights(name) if _classifies(one)] for name in names}
        trained = [_entry(name, one, trained=True) for name in names for one in weights[name]]
        # torchvision constructs architectures for the smallest input of their weights unless it is told otherwise
        smallest = {name: min(weights[name], key=lambda one: one.transforms().crop_size[0]) for name in names}
        return [*trained, *(_entry(name, smallest[name], trained=False) for name in names)]

    def missing(self, entry: ZooEntry) -> str | None:
        file = _file(entry)
        return None if file is None or file.path.is_file() else file.path.name

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        return largest_file(file.path for entry in entries if (file := _file(entry)) is not None)

    def construct(self, entry: ZooEntry) -> "nn.Module":
        from auditor.zoo.normalized import normalized

        return normalized(_construct(entry, None), entry.preprocessing)

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import normalized

        file = _file(entry)
        model = _construct(entry, None if file is None else load_or_download(file))
        notes = () if file else (f"random weights (seed {SEED}); trained ones: {', '.join(_trained(entry))}",)
        return LoadedModel(
            set_eval(normalized(model, entry.preprocessing)),
            state_dict_digest(model.state_dict()),
            notes,
            () if file else ("untrained",),
        )


def _classifies(weights: Any) -> bool:
    """Whether weights have a classifier for ImageNet: those of ``vgg16.IMAGENET1K_FEATURES`` end before it."""
    return len(weights.meta["categories"] or ()) == CLASSES


def _entry(name: str, weights: Any, *, trained: bool) -> ZooEntry:
    from torchvision import __version__

    preset = weights.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    kwargs = AUXILIARY.get(name, {}) | ({"transform_input": True} if name in AUXILIARY and trained else {})
    return ZooEntry(
        model=f"torchvision:{name}.{weights.name}" if trained else f"torchvision:{name}",
        source="torchvision",
        description=f"pretrained, {weights.name}" if trained else RANDOM_WEIGHTS,
        architecture={"torchvision": name, "kwargs": kwargs, "version": __version__.partition("+")[0]},
        preprocessing={"mean": list(preset.mean), "std": list(preset.std)},
        dataset="imagenet",
        threat_model="Linf",
        norm="Linf",
        eps=DEFAULT_EPS,
        input_size=(3, crop, crop),
        training={"pretrained": trained},
        transform=Transform(resize=resize, crop=(crop, crop), interpolation=preset.interpolation.value),
    )


def _weights(entry: ZooEntry) -> Any:
    """The weights that a name with a tag names; None for an architecture alone."""
    from torchvision import models

    name, _, tag = entry.model.removeprefix("torchvision:").partition(".")
    return models.get_model_weights(name)[tag] if tag else None


def _file(entry: ZooEntry) -> WeightFile | None:
    weights = _weights(entry)
    return None if weights is None else hub_weight_file(weights.url)


def _trained(entry: ZooEntry) -> list[str]:
    from torchvision import models

    name = entry.architecture["torchvision"]
    return [f"torchvision:{name}.{one.name}" for one in models.get_model_weights(name) if _classifies(one)]


def _construct(entry: ZooEntry, content: Any) -> "nn.Module":
    """The network, with random weights that are always the same or with those of a file.

    torchvision's own function loads the file's content, because it renames the weights of some networks.

    Raises:
        ModelLoadError: torchvision cannot construct the network, or the weights do not fill it.
    """
    import torch
    from torchvision import models

    name, weights = entry.architecture["torchvision"], _weights(entry)
    kwargs = entry.architecture["kwargs"]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(SEED)
        try:
            if content is None:
                size = {"image_size": entry.input_size[1]} if name.startswith("vit_") else {}
                model: nn.Module = models.get_model(name, weights=None, **kwargs, **size)
                return model
            with _given(weights, content):
                model = models.get_model(name, weights=weights, progress=False)
        except Exception as error:  # the library's own code, such as names of weights that do not fit
            raise ModelLoadError(f"{entry.model}: torchvision cannot construct it: {one_line(str(error))}") from error
    if name in AUXILIARY:
        for head in {"aux1", "aux2", "AuxLogits"} & dict(model.named_children()).keys():
            setattr(model, head, None)
        model.aux_logits = False  # type: ignore[assignment]  # a flag of these networks
    return model


@contextmanager
def _given(weights: Any, content: Any) -> Iterator[None]:
    """Let torchvision use this content instead of downloading and unpickling a file by itself."""
    kind = type(weights)
    kind.get_state_dict = lambda *_, **__: content
    try:
        yield
    finally:
        del kind.get_state_dict
