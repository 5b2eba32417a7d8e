"""timm's architectures and pretrained weights, as ``timm.create_model`` makes them.

``timm:resnet18.a1_in1k`` is a trained network; ``timm:resnet18`` is the architecture with random weights, as in timm
itself, and its audit is flagged ``untrained``. Weights come from the Hugging Face hub, whose settings apply: HF_HOME,
HF_HUB_OFFLINE, HF_TOKEN.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, ModelLoadError, one_line
from auditor.records import Transform, ZooEntry
from auditor.zoo.hub_access import check_hub_reachable, offline
from auditor.zoo.source import DEFAULT_EPS, RANDOM_WEIGHTS, LoadedModel
from auditor.zoo.weight_files import hub_weight_file, load_or_download

if TYPE_CHECKING:
    from torch import nn

UNTRAINED_SEED = 0
DATASETS = {
    1000: "imagenet",
    11221: "imagenet21k-miil",
    11821: "imagenet12k",
    21841: "imagenet22k",
    21842: "imagenet22k",
    21843: "imagenet21k",
}


@dataclass(frozen=True)
class TimmZoo:
    """The models of the installed timm: pretrained ones first, then architectures with random weights."""

    preload: tuple[str, ...] = ("timm",)

    def entries(self) -> list[ZooEntry]:
        timm = import_timm()
        trained = timm.list_models(pretrained=True)
        bare = [name for name in timm.list_models() if name not in set(trained)]  # a few tags are empty
        return [
            _entry(name, timm.get_pretrained_cfg(name), trained=kind)
            for names, kind in ((trained, True), (bare, False))
            for name in names
        ]

    def missing(self, entry: ZooEntry) -> str | None:
        config = import_timm().get_pretrained_cfg(_name(entry))
        if not entry.training["pretrained"] or _cached(config):
            return None
        return str(config.hf_hub_id or config.url)

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:  # noqa: ARG002
        return None  # timm would have to construct the network

    def construct(self, entry: ZooEntry) -> "nn.Module":
        from auditor.zoo.normalized import normalized

        return normalized(create_model(_name(entry), trained=False), entry.preprocessing)

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import normalized

        if entry.dataset == "features":
            raise ModelLoadError(f"{entry.model} gives features, not logits: it has no classes to audit")
        trained, missing = bool(entry.training["pretrained"]), self.missing(entry)
        if missing and "://" not in missing:
            check_hub_reachable(missing)
        if trained:
            _download_by_address(_name(entry))
        with contextlib.nullcontext() if missing else offline():  # cached files are used without asking the hub
            model = create_model(_name(entry), trained=trained)
        notes: tuple[str, ...] = ()
        if not trained:
            tags = [name for name in import_timm().list_models(pretrained=True) if name.split(".")[0] == _name(entry)]
            other = (
                f"trained ones: {', '.join(f'timm:{tag}' for tag in tags[:3])}" if tags else "timm has no trained ones"
            )
            notes = (f"random weights (seed {UNTRAINED_SEED}); {other}",)
        return LoadedModel(
            set_eval(normalized(model, entry.preprocessing)),
            state_dict_digest(model.state_dict()),
            notes,
            () if trained else ("untrained",),
        )


def has_hub() -> bool:
    """Whether timm can use the installed huggingface_hub; if not, it cannot load any pretrained weights."""
    import_timm()
    from timm.models._hub import has_hf_hub

    return bool(has_hf_hub())


def import_timm() -> Any:
    """timm, imported without warnings. Raises EnvironmentUnusableError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except ImportError as error:
        raise EnvironmentUnusableError(f"timm cannot be imported: pip install 'auditor[timm]' ({error})") from error
    return timm


def _name(entry: ZooEntry) -> str:
    return entry.model.removeprefix("timm:")


def _entry(name: str, config: Any, *, trained: bool) -> ZooEntry:
    """An entry from timm's own name and pretrained configuration."""
    tag = name.partition(".")[2] or "without a tag"
    # An architecture without weights has no configuration, or an empty one; its own defaults are ImageNet's.
    size = tuple(config.input_size) if config else (3, 224, 224)
    classes = config.num_classes if trained else 1000
    return ZooEntry(
        model=f"timm:{name}",
        source="timm",
        description=f"pretrained, {tag}" if trained else RANDOM_WEIGHTS,
        architecture={"timm": name.partition(".")[0], "version": import_timm().__version__},
        preprocessing={
            "mean": list(config.mean if config else (0.485, 0.456, 0.406)),
            "std": list(config.std if config else (0.229, 0.224, 0.225)),
        },
        dataset=DATASETS.get(classes, "features"),
        threat_model="Linf",
        norm="Linf",
        eps=DEFAULT_EPS,
        input_size=size,
        training={"pretrained": trained},
        transform=transform_of(config, size),
    )


def transform_of(config: Any, size: tuple[int, ...]) -> Transform:
    """The evaluation transform of timm: resized to ``size / crop_pct``, then cropped at the centre."""
    crop_pct = config.crop_pct if config else 0.875
    interpolation = config.interpolation if config else "bilinear"
    height, width = size[1:]
    scaled = math.floor(height / crop_pct), math.floor(width / crop_pct)
    squash = bool(config) and config.crop_mode == "squash"
    return Transform(resize=scaled if squash else scaled[0], crop=(height, width), interpolation=interpolation)


def _cached(config: Any) -> bool:
    """Whether the weights are in the cache of the hub or of torch."""
    from huggingface_hub import try_to_load_from_cache
    from timm.models._hub import HF_WEIGHTS_NAME, _get_safe_alternatives

    if not config.hf_hub_id:
        return hub_weight_file(config.url).path.is_file()
    preferred = config.hf_hub_filename or HF_WEIGHTS_NAME
    files = [*_get_safe_alternatives(preferred), preferred]
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def _download_by_address(name: str) -> None:
    """Download and check the weights of the few networks that are not on the hub, before timm reads them."""
    config = import_timm().get_pretrained_cfg(name)
    if not config.hf_hub_id:
        load_or_download(hub_weight_file(config.url))


def create_model(
    name: str, *, trained: bool, config: Any = None, arguments: Mapping[str, Any] | None = None
) -> "nn.Module":
    """``timm.create_model``, with every weight loaded, or with random weights that are always the same.

    Args:
        config: timm's ``PretrainedCfg`` with the weights; None for timm's own of this name.
        arguments: of the network.

    Raises:
        ModelLoadError: the weights cannot be loaded, or do not fill the model.
    """
    import httpx
    import torch

    timm = import_timm()
    given = {} if config is None else {"pretrained_cfg": config}
    with torch.random.fork_rng(devices=[]), watched_loading() as loads, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(UNTRAINED_SEED)
        try:
            model: nn.Module = timm.create_model(name, pretrained=trained, **given, **(arguments or {}))
        except Exception as error:  # timm passes the arguments on to each network's own code
            kind = "download failed" if isinstance(error, httpx.HTTPError | OSError) else "timm cannot construct it"
            is_unsafe = "weights_only" in str(error)
            reason = "its weights are a pickle that holds more than tensors" if is_unsafe else str(error)
            raise ModelLoadError(f"{kind}: {one_line(reason)}") from error
    custom = trained and config is None and timm.get_pretrained_cfg(name).custom_load
    if trained and not custom and not loads:
        raise ModelLoadError(f"timm constructed {name} without loading weights")
    missing = [key for load in loads for key in load.missing_keys]
    if missing:
        raise ModelLoadError(f"{name}: {len(missing)} keys are missing in the weights, the first is {missing[0]!r}")
    return model


@contextlib.contextmanager
def watched_loading() -> Iterator[list[Any]]:
    """Load weights only as data, and collect the results of ``load_state_dict`` with the missing keys."""
    import functools

    import torch
    from torch import nn

    loads: list[Any] = []
    load_file, load_state_dict = torch.load, nn.Module.load_state_dict

    @functools.wraps(load_file)
    def load_only_data(*arguments: Any, **options: Any) -> Any:
        return load_file(*arguments, **{**options, "weights_only": True})

    def record_result(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        result = load_state_dict(self, *arguments, **options)
        loads.append(result)
        return result

    torch.load, nn.Module.load_state_dict = load_only_data, record_result  # type: ignore[method-assign]
    try:
        yield loads
    finally:
        torch.load, nn.Module.load_state_dict = load_file, load_state_dict  # type: ignore[method-assign]
