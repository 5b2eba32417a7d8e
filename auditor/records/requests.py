"""What is requested: the parts of an audit, and the measurement of a scan, with its estimated cost."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from auditor.records.certificates import CERTIFIED_NORMS, CertificateMethod
from auditor.records.corruptions import is_corruptions, protocol_under
from auditor.records.extra_attacks import ExtraAttacks


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to measure on a model. Devices and batch sizes are not part of an audit's identity.

    ``sketch``: the number of random images from which C is estimated; None computes C exactly.
    ``triage``: a screening score from 0 to 1 from which models are attacked, and a random tenth of the others; None
    attacks all. It decides what is measured, and is not part of an audit's identity.
    ``targeted``: ``superclass`` also attacks towards classes inside and outside of the own superclass; None does not.
    ``curve``: also search for the smallest perturbation of each sample.
    ``stop_at``: the attacks stop once the robust accuracy is decided to be above or below this share; None attacks all.
    ``stop_on_regression``: the attacks stop once it is decided whether fewer images survive than in the last result.
    ``tests``: the number of models about which early answers are given: the 5 % hold for all answers together.
    ``extra_attacks``: run after those of the protocol; None runs none.
    ``certify``: also measure a lower bound, by ``bounds`` or ``smoothing``, whose noise has the standard deviation
    ``sigma``; None for half of eps.
    ``mixed_precision``: the search of protocol strong takes its gradients in bfloat16; float32 confirms what it breaks.
    ``measure_batch``: on a GPU, the batch size is measured instead, if the protocol's verdicts do not depend on it.
    """

    protocol: str
    linearization: str = "remove"
    sketch: int | None = None
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 256
    triage: float | None = None
    targeted: Literal["superclass"] | None = None
    stop_at: float | None = None
    curve: bool = False
    certify: CertificateMethod | None = None
    sigma: float | None = None
    stop_on_regression: bool = False
    tests: int = 1
    extra_attacks: ExtraAttacks | None = None
    mixed_precision: bool = False
    measure_batch: bool = False

    @property
    def may_stop(self) -> bool:
        """Whether the attacks may stop before all images are attacked."""
        return self.stop_at is not None or self.stop_on_regression

    @property
    def complete(self) -> "AuditRequest":
        """The same request for all images; its result also answers a gate that may stop early."""
        return replace(self, stop_at=None, stop_on_regression=False, tests=1)

    def without_attacks(self, protocol: str) -> "AuditRequest":
        """The same request under a protocol, without all that needs attacks."""
        return replace(
            self.complete,
            protocol=protocol,
            targeted=None,
            curve=False,
            extra_attacks=None,
            certify=None,
            sigma=None,
            mixed_precision=False,
        )

    def under(self, norm: str) -> "AuditRequest":
        """What of the request has a meaning in a norm, or under corruptions, which no attack makes."""
        if is_corruptions(norm):
            return replace(self.without_attacks(protocol_under(self.protocol, norm)), triage=None)
        if self.certify is not None and norm not in CERTIFIED_NORMS[self.certify]:
            return replace(self, certify=None, sigma=None)
        return self


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """An audit and its images: the first ``samples`` from ``data``, all of them for None.

    ``or_fewer``: use a smaller data set whole instead of refusing it, because the number of samples is a default.
    ``adversarials`` is a folder for adversarial images; None stores none.
    """

    audit: AuditRequest
    samples: int | None
    or_fewer: bool = False
    data: Path | None = None
    adversarials: Path | None = None

    def under(self, norm: str) -> "Measurement":
        """What of it has a meaning in a norm, or under corruptions: see :meth:`AuditRequest.under`."""
        adversarials = None if is_corruptions(norm) else self.adversarials
        return replace(self, audit=self.audit.under(norm), adversarials=adversarials)


@dataclass(frozen=True)
class Estimate:
    """The cost of an audit: ``seconds``, ``seconds_at_most`` with a reserve, and ``memory`` in bytes.

    ``screened_only`` says why a triage attacks no image of the model; it is empty if the model is attacked.
    ``notes`` are what a reader of the results should know about the images.
    """

    seconds: float
    memory: int
    seconds_at_most: float = float("nan")
    screened_only: str = ""
    notes: tuple[str, ...] = ()
