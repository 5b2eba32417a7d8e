"""Which survivors an attack of protocol ``strong`` runs on, and what a random part of the rest says about the rest.

An attack's parameters may name

- ``nearer_than``: it runs on samples with a smaller lack, which a search has measured (:mod:`auditor.attacks.search`);
- ``also_nearer_than``: it also runs on samples with a smaller lack than this, although they count as far;
- ``share``: it also runs on a random part of the others, this share or more;
- ``left_out_at_most``: the random part grows, from what was broken in it so far, until at most this share of all
  samples could be broken among those that were left out, with 95 % confidence. If many samples can be broken although
  they seem far from the boundary, the part grows to all of them.
"""

import bisect
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from auditor.attacks.norms import generators
from auditor.attacks.protocols import Attack

ONE_IN = 20
"""The bound is wrong at most once in so many times: 95 % confidence."""
EXPECTED = 20
"""The bound is tightest if about one sample in so many of the random part can be broken; it holds for any share."""
_SELECTION = ("nearer_than", "also_nearer_than", "share", "left_out_at_most")


@dataclass(frozen=True)
class LeftOut:
    """What an attack on a random part of the samples says about those that it left out.

    Attributes:
        near: the samples attacked because their lack is small.
        drawn, broken: the samples of the random part, and how many of these were broken.
        rest: the samples left out.
        at_most: how many of the rest it would break at most, with 95 % confidence.
    """

    near: int
    drawn: int
    broken: int
    rest: int
    at_most: int


def is_near(settings: dict[str, Any], lack: Tensor) -> Tensor:
    """``(N,)`` bool: whether each sample is near enough for the attack; all are if it names no limit."""
    return lack < settings["nearer_than"] if "nearer_than" in settings else torch.ones_like(lack, dtype=torch.bool)


def is_in_reach(settings: dict[str, Any], lack: Tensor) -> Tensor:
    """``(N,)`` bool: which samples the attack runs on whatever the random part is: the near ones, and some far ones."""
    further: Tensor = lack < settings.get("also_nearer_than", 0.0)
    return is_near(settings, lack) | further


def order_far(numbers: Tensor, seed: int, far: Tensor) -> Tensor:
    """The positions of the samples far from the boundary, in a random order; the random part is its beginning.

    Each sample's number draws its place, so that the order does not depend on the batch.

    Args:
        numbers: ``(N,)``, the samples' numbers.
        seed: the seed of the audit.
        far: ``(N,)`` bool, the samples to choose from.
    """
    places = torch.tensor([generator.random() for generator in generators(numbers, seed, "part")]).to(far.device)
    return places.masked_fill(~far, torch.inf).argsort(stable=True)[: int(far.sum())]


def choose_size(settings: dict[str, Any], far: int, n: int, broken: int = 0, drawn: int = 0) -> int:
    """How many of the samples far from the boundary belong to the random part.

    Args:
        settings: the attack's parameters.
        far: the number of these samples.
        n: the number of samples that the robust accuracy is a share of.
        broken, drawn: how many were broken in the part so far, and how large it is.
    """
    least = smallest_part(far, settings.get("left_out_at_most", 1.0) * n, broken)
    share: float = settings["share"]
    return max(drawn, least, math.ceil(share * far))


def smallest_part(count: int, at_most: float, broken: int = 0) -> int:
    """How many of ``count`` samples must be drawn, ``broken`` of them broken, so that at most so many of the rest can
    be.

    Example:
        >>> smallest_part(400, 50), smallest_part(400, 50, broken=1), smallest_part(40, 50)
        (28, 45, 0)
    """
    sizes = range(broken, count)
    return broken + bisect.bisect_left(
        sizes, True, key=lambda drawn: most_broken(drawn, broken, count - drawn) <= at_most
    )


def without_selection(attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
    """The attacks, each on all survivors."""
    return tuple(
        replace(attack, parameters={key: value for key, value in attack.parameters.items() if key not in _SELECTION})
        for attack in attacks
    )


def most_broken(drawn: int, broken: int, rest: int) -> int:
    """The largest number of breakable samples among ``rest`` that the random part does not contradict.

    The part is drawn without replacement from ``drawn + rest`` samples, so the number of breakable samples in it is
    hypergeometric. A number of breakable samples is contradicted once a beta-binomial prior, with parameters 1 and
    ``EXPECTED``, gives what was seen 20 times its probability. That happens to the true number with a probability of
    at most 5 %, at whatever size the drawing ends (the prior-posterior ratio of Waudby-Smith and Ramdas, 2020). So
    the part may grow because something in it was broken.

    Example:
        >>> most_broken(drawn=50, broken=0, rest=350), most_broken(drawn=0, broken=0, rest=350)
        (30, 350)
    """
    population = drawn + rest
    expected = _log_choose(drawn, broken) + _log_beta(1 + broken, EXPECTED + drawn - broken) - _log_beta(1, EXPECTED)

    def is_contradicted(further: int) -> bool:
        breakable = broken + further
        likely = _log_choose(breakable, broken) + _log_choose(population - breakable, drawn - broken)
        return likely - _log_choose(population, drawn) < expected - math.log(ONE_IN)

    likeliest = min(rest, broken * (population + 1) // drawn - broken) if drawn else 0  # above it, less and less likely
    return likeliest + bisect.bisect_left(range(likeliest + 1, rest + 1), True, key=is_contradicted)


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def summarize(left_out: LeftOut, name: str, robust: int, n: int) -> str:
    """The note of a result: where the attack ran, and what it might still break."""
    near, drawn, rest, at_most = left_out.near, left_out.drawn, left_out.rest, left_out.at_most
    return (
        f"{name} ran on {near} samples near the boundary and on a random {drawn} of the other {drawn + rest}, of which "
        f"it broke {left_out.broken}; with 95 % confidence it would break at most {at_most} of the {rest} left out: "
        f"robust accuracy {(robust - at_most) / n:.1%} or more under {name} in full"
    )
