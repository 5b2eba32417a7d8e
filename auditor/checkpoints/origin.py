"""The model from which a checkpoint's fine-tuning started: its licence, and its repository on the hub."""

from dataclasses import dataclass

from auditor.data.known import CLASSES
from auditor.records import ZooEntry


@dataclass(frozen=True)
class Origin:
    """The properties of the original model in a model card.

    Attributes:
        license: the identifier that its publisher gives, e.g. ``apache-2.0``; None if auditor does not know it.
        license_from: the origin of this information.
        hub_id: its repository on the hub, e.g. ``timm/resnet18.a1_in1k``.
    """

    license: str | None = None
    license_from: str | None = None
    hub_id: str | None = None


def origin_of(entry: ZooEntry) -> Origin:
    """Look up the original model by its source; imports timm for timm's models.

    Raises:
        EnvironmentUnusableError: the model is timm's, and timm is not installed.
    """
    if entry.source == "demo":
        return Origin("mit", "auditor, which trained and ships it")
    if entry.source == "hub" and entry.place is None:
        return Origin(hub_id=entry.model.removeprefix("hub:").partition("@")[0])
    if entry.source != "timm" or not entry.training.get("pretrained"):
        return Origin()
    from auditor.zoo.timm import import_timm

    config = import_timm().get_pretrained_cfg(entry.model.removeprefix("timm:"))
    license = None if config.license in (None, "other") else str(config.license)
    return Origin(license, license and "timm's pretrained_cfg", config.hf_hub_id)


def classes_of(entry: ZooEntry) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits; None if auditor does not know them."""
    return entry.own_data.classes if entry.own_data else CLASSES.get(entry.dataset)


def normalizes_itself(entry: ZooEntry) -> bool:
    """Whether the network itself normalizes [0, 1] pixels.

    ``entry`` is the entry of the original model.
    """
    return entry.source in ("demo", "robustbench") or not entry.preprocessing
