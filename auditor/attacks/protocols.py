"""The protocols: which attacks, in which order, on how many images. Cheap ones first: a cascade."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from auditor.errors import NotFoundError
from auditor.records import AuditRequest

Engine = Literal["gradient", "search", "autoattack", "transfer", "own"]
EXTRA: tuple[Engine, ...] = ("transfer", "own")
"""Attacks beyond those of a protocol; they take their gradients, if any, from elsewhere."""


@dataclass(frozen=True)
class Attack:
    """One attack of a cascade. ``parameters`` are complete: with the seed they determine what it does."""

    name: str
    engine: Engine
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """Attacks and the default number of images: ``samples`` None is the whole test set, 0 needs no data."""

    name: str
    samples: int | None
    attacks: tuple[Attack, ...]
    summary: str


# Steps and step size of the paper: 20 of eps/4 from a random start.
_PGD = {"steps": 20, "step_fraction": 0.25, "random_start": True}
_FGSM = Attack("fgsm", "gradient", {"loss": "ce", "steps": 1, "step_fraction": 1.0, "random_start": False})
PGD_20 = Attack("pgd-20", "gradient", {"loss": "ce", **_PGD})
_CW = Attack("cw-20", "gradient", {"loss": "margin", **_PGD})

# AutoAttack's standard version (Croce and Hein, 2020): these iterations, restarts and queries.
_AUTOATTACK = (
    Attack("apgd-ce", "autoattack", {"iterations": 100, "restarts": 1}),
    Attack("apgd-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 9}),
    Attack("fab-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 9}),
    Attack("square", "autoattack", {"queries": 5000, "restarts": 1}),
)
# The search of protocol `strong`. On demo models, with images that the benchmark does not use, ascents of 25 to 40
# iterations with restarts broke more than ascents of 100.
_SEARCH = Attack(
    "search",
    "search",
    {
        "iterations": 30,
        "targets": 9,
        "explore": 0.5,
        "explore_iterations": 15,
        "pairs": 3,
        "rounds": [[0.2, 1], [0.1, 2], [0.05, 4], [0.02, 8], [0.01, 16]],
    },
)
# On test images 1000 to 1299 of five robust demo models Square broke four images that the search had left. They lacked
# 0.004, 0.006, 0.025 and 0.083. 24 rounds of restarts did not break the three that were tried.
_PART: dict[str, Any] = {"nearer_than": 0.01, "share": 1 / 12, "left_out_at_most": 0.1}
_FAB, _SQUARE = _AUTOATTACK[2], Attack("square", "autoattack", {"queries": 5000, "restarts": 1, "draws": "sample"})


_STRONG = (
    _FGSM,
    PGD_20,
    _SEARCH,
    replace(_FAB, parameters={**_FAB.parameters, **_PART}),
    replace(_SQUARE, parameters={**_SQUARE.parameters, **_PART, "also_nearer_than": 0.03}),
)
# AutoAttack's "rand" version, for models whose logits differ between passes.
RANDOMIZED = (
    Attack("apgd-ce", "autoattack", {"iterations": 100, "restarts": 1, "eot": 20}),
    Attack("apgd-dlr", "autoattack", {"iterations": 100, "restarts": 1, "eot": 20}),
)


def for_randomized(attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
    """On a randomized model: the protocol's gradient attacks, AutoAttack's rand version, then those beyond both."""
    gradient = (attack for attack in attacks if attack.engine == "gradient")
    return (*gradient, *RANDOMIZED, *(attack for attack in attacks if attack.engine in EXTRA))


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("screen", 0, (), "linearize and cluster; needs no data, is no evidence of robustness"),
        Protocol("quick", 256, (_FGSM, PGD_20), "screen, F, clean, FGSM and PGD-20 on 256 images"),
        Protocol(
            "standard",
            1000,
            (_FGSM, PGD_20, _CW, *_AUTOATTACK),
            "screen, F and AutoAttack-standard strength on 1,000 images",
        ),
        Protocol(
            "strong",
            1000,
            _STRONG,
            "screen, F and an adaptive search on 1,000 images: about as strong as standard, in fewer passes",
        ),
        Protocol(
            "full",
            None,
            (_FGSM, PGD_20, _CW, *_AUTOATTACK),
            "the same as standard on the whole test set",
        ),
    )
}


MIXED_PRECISION = "bfloat16"
"""The short number format of mixed precision, in which large products are made. Its range is that of float32."""


def in_mixed_precision(protocol: Protocol) -> Protocol:
    """The protocol whose search takes its gradients in mixed precision; float32 confirms what it breaks."""
    attacks = (
        replace(attack, parameters={**attack.parameters, "precision": MIXED_PRECISION})
        if attack.engine == "search"
        else attack
        for attack in protocol.attacks
    )
    return replace(protocol, attacks=tuple(attacks))


def requested_protocol(request: AuditRequest) -> Protocol:
    """The protocol that an audit's request names, in its precision. Raises NotFoundError if there is none."""
    protocol = find_protocol(request.protocol)
    return in_mixed_precision(protocol) if request.mixed_precision else protocol


def draws_by_sample(protocol: Protocol) -> bool:
    """Whether every attack draws by sample, so that no verdict depends on the batch size."""
    batched = (attack for attack in protocol.attacks if attack.engine == "autoattack" and attack.name != "fab-t")
    return all(attack.parameters.get("draws") == "sample" for attack in batched)


def find_protocol(name: str) -> Protocol:
    """The protocol with this name.

    Raises:
        NotFoundError: no protocol has this name.
    """
    if name not in PROTOCOLS:
        raise NotFoundError(f"no protocol named {name!r}; there is: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
