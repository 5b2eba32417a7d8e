"""What evidence states about one audit: its setting, the verdict on each sample, and the figures that follow."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import ValidationError

from auditor.errors import EvidenceError, one_line
from auditor.records.json import from_json, to_json
from auditor.text.validation import describe_first

FORMAT: Final = "auditor evidence record 1"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The verdict on one sample. Classes are positions in the record's ``classes``.

    Attributes:
        index: the sample's number in the test set.
        correct: whether the clean image is classified correctly.
        survived: whether it is, and no attack broke it; under corruptions, whether all of them are correct, too.
        picture: a 64-bit digest of the picture and its label, in hexadecimal.
        label: the true class.
        clean_class: the class of the clean image.
        broken_by: the position in ``attacks`` of the attack that broke the sample; None if none did.
        adversarial_class: the class of the image that broke the sample.
        size: of the nearest adversarial image found, for the curve; None if none was found.
        found_by: the position in the curve's ``attacks`` of the attack that found it.
        certified: whether the certificate holds for the sample.
        radius: the certified radius of the smoothed model.
        corruptions: a digit for each of the record's ``corruptions``: 1 if the image is classified correctly.
    """

    index: int
    correct: bool
    survived: bool
    picture: str | None = None
    label: int | None = None
    clean_class: int | None = None
    broken_by: int | None = None
    adversarial_class: int | None = None
    size: float | None = None
    found_by: int | None = None
    certified: bool | None = None
    radius: float | None = None
    corruptions: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditedModel:
    """The model. ``weights_sha256`` covers names, types, shapes and values; ``file_sha256`` the bytes of the file."""

    name: str
    source: str
    description: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    input_size: tuple[int, int, int]
    weights_sha256: str
    file_sha256: str | None = None
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AuditSetting:
    """What was measured, how, when and by which software; the fields are those of a result."""

    id: int
    identity: str | None
    protocol: str
    dataset: str
    hub_dataset: str | None
    threat_model: str
    norm: str
    eps: float
    linearization: str
    seed: int
    device: str
    batch_size: int | None
    images_sha256: str | None
    extra_attacks: str | None
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RunAttack:
    """One attack of the cascade; it ran on ``n`` of the samples that had survived those before it."""

    attack: str
    parameters: dict[str, Any]
    n: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CurveSetting:
    """Of the search for the smallest perturbations: ``largest`` is its largest radius, in [0, 1] pixels."""

    norm: str
    largest: float
    attacks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CertificateSetting:
    """How samples were certified."""

    method: Literal["bounds", "smoothing"]
    parameters: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EvidenceRecord:
    """The evidence about one audit.

    Attributes:
        corruptions: ``NAME/SEVERITY``, in the order of the digits of a sample's ``corruptions``.
        figures: all that follows from the samples; see :func:`auditor.evidence.figures.compute_figures`.
        stated: figures, flags and notes that do not follow from the samples.
    """

    format: Literal["auditor evidence record 1"] = FORMAT
    audit: AuditSetting
    model: AuditedModel
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    attacks: tuple[RunAttack, ...] = ()
    curve: CurveSetting | None = None
    certificate: CertificateSetting | None = None
    corruptions: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    stated: dict[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    @property
    def flags(self) -> list[str]:
        """Why the figures cannot be trusted; empty if they can."""
        return list(self.stated.get("flags", ()))

    def __post_init__(self) -> None:
        flags = self.stated.get("flags", [])
        if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
            raise ValueError(f"expected flags as a list of texts, got {flags!r:.80}")


@dataclass(frozen=True, kw_only=True)
class NotIncluded:
    """A model of the scan that the evidence says nothing about, with the reason."""

    model: str
    reason: str


def record_to(record: EvidenceRecord) -> dict[str, Any]:
    """A record as JSON; a sample has only what was measured of it."""
    dumped = to_json(record)
    dumped["samples"] = [
        {name: value for name, value in sample.items() if value is not None} for sample in dumped["samples"]
    ]
    return dumped


def record_from(name: str, content: bytes) -> EvidenceRecord:
    """Read the record in a file of this name.

    Raises:
        EvidenceError: it is no record of this version.
    """
    try:
        return from_json(EvidenceRecord, content)
    except ValidationError as error:
        raise EvidenceError(f"{name}: no record of this version: {one_line(describe_first(error.errors()))}") from error
