"""What a model's weights say of its robustness, without data and without an attack on data."""

from dataclasses import dataclass, field

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The screening of one model. A value is NaN where it is undefined; ``reasons`` says why, by its name.

    Attributes:
        score: the calibrated probability, from 0 to 1, that at least half of what the model classifies correctly
            survives attacks within ``eps``.
        margin: the median first-order distance to a class boundary at confident probes, a length in [0, 1] pixels in
            the norm of the threat model.
        local_gap: the gap of the local linear maps, averaged over confident probes.
        gap: the gap of the linearized network.
        data_margin: the median first-order distance to a class boundary at correctly classified test images; NaN
            where no images were attacked.
        statistics: everything that the score is computed from, by name.
        findings: what makes these numbers doubtful: ``zero_gradients``, ``nonfinite_gradients``, ``nonfinite_logits``,
            ``constant_answer``.
    """

    score: float
    margin: float
    local_gap: float
    gap: float
    data_margin: float = NAN
    statistics: dict[str, float] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
