"""What is known of the zoo's model at a checkpoint's beginning: its licence, and where it lies on the hub."""

from dataclasses import dataclass

from auditor.data.known import CLASSES
from auditor.records import ZooEntry


@dataclass(frozen=True)
class Origin:
    """What a model card says of the beginning.

    Attributes:
        license: the identifier that its publisher gives, e.g. ``apache-2.0``; None where auditor knows of none.
        license_from: who says so.
        hub_id: its repository on the hub, e.g. ``timm/resnet18.a1_in1k``.
    """

    license: str | None = None
    license_from: str | None = None
    hub_id: str | None = None


def origin_of(entry: ZooEntry) -> Origin:
    """By the source of the entry; imports timm for models that timm has.

    Raises:
        EnvironmentUnusableError: timm's model, and timm is not installed.
    """
    if entry.source == "demo":
        return Origin("mit", "auditor, which ships and trained it")
    if entry.source != "timm" or not entry.training.get("pretrained"):
        return Origin()
    from auditor.zoo.timm import _timm

    found = _timm().get_pretrained_cfg(entry.model.removeprefix("timm:"))
    license = None if found.license in (None, "other") else str(found.license)
    return Origin(license, license and "timm's pretrained_cfg", found.hf_hub_id)


def classes_of(entry: ZooEntry) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits; None where auditor does not know them."""
    return entry.own_data.classes if entry.own_data else CLASSES.get(entry.dataset)


def normalizes_itself(entry: ZooEntry) -> bool:
    """Whether the network's weights include the normalization, so that it takes [0, 1] pixels as they are.

    ``entry`` is that of the zoo's model at the beginning.
    """
    return entry.source in ("demo", "robustbench") or not entry.preprocessing
