"""Which survivors an attack of protocol ``strong`` runs on, and what a random part of the rest says about the rest.

An attack's parameters may name

- ``nearer_than``: it runs on samples with a smaller lack, which a search has measured (:mod:`auditor.attacks.search`);
- ``share``: it also runs on a random part of the others, this share or more;
- ``left_out_at_most``: the random part is so large that, if the attack breaks nothing in it, at most this share of all
  samples could be broken among those that were left out, with 95 % confidence;
- ``rest_of``: it runs on the survivors that the attack with the same settings left out, and only if an attack broke a
  sample of the random part, because then the lack does not say which samples can be broken.
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
_SELECTION = ("nearer_than", "share", "left_out_at_most")


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


def draw_part(settings: dict[str, Any], numbers: Tensor, seed: int, far: Tensor, n: int) -> Tensor:
    """``(N,)`` bool: the random part of the samples that are far from the boundary.

    Each sample's number draws its place in a random order, so that the part does not depend on the batch.

    Args:
        settings: the attack's parameters.
        numbers: ``(N,)``, the samples' numbers.
        seed: the seed of the audit.
        far: ``(N,)`` bool, the samples to choose from.
        n: the number of samples that the robust accuracy is a share of.
    """
    if "share" not in settings:
        return torch.zeros_like(far)
    places = torch.tensor([generator.random() for generator in generators(numbers, seed, "part")]).to(far.device)
    order = places.masked_fill(~far, torch.inf).argsort(stable=True)
    least = smallest_part(int(far.sum()), settings.get("left_out_at_most", 1.0) * n)
    part: Tensor = (far & (places < settings["share"])).index_fill(0, order[:least], True)
    return part


def smallest_part(count: int, at_most: float) -> int:
    """How many of ``count`` samples must be drawn, and not broken, so that at most so many of the rest can be.

    Example:
        >>> smallest_part(400, 50), smallest_part(40, 50)
        (22, 0)
    """
    return bisect.bisect_left(range(count), True, key=lambda drawn: most_broken(drawn, 0, count - drawn) <= at_most)


def without_selection(attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
    """The attacks, each on all survivors."""
    return tuple(
        replace(attack, parameters={key: value for key, value in attack.parameters.items() if key not in _SELECTION})
        for attack in attacks
        if not attack.parameters.get("rest_of")
    )


def most_broken(drawn: int, broken: int, rest: int) -> int:
    """The largest number of breakable samples among ``rest`` that the random part does not contradict.

    The part is drawn without replacement from ``drawn + rest`` samples, so the number of breakable samples in it is
    hypergeometric. The bound is the largest number for which as few as ``broken`` of ``drawn`` has a probability of 5 %
    or more.

    Example:
        >>> most_broken(drawn=50, broken=0, rest=350), most_broken(drawn=0, broken=0, rest=350)
        (21, 350)
    """
    population = drawn + rest

    def is_plausible(further: int) -> bool:
        breakable = broken + further
        ways = sum(
            math.comb(breakable, seen) * math.comb(population - breakable, drawn - seen) for seen in range(broken + 1)
        )
        return ONE_IN * ways >= math.comb(population, drawn)  # in integers: they have thousands of digits

    low, high = 0, rest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_plausible(middle) else (low, middle - 1)
    return low


def summarize(left_out: LeftOut, name: str, robust: int, n: int) -> str:
    """The note of a result: where the attack ran, and what it might still break."""
    near, drawn, rest, at_most = left_out.near, left_out.drawn, left_out.rest, left_out.at_most
    return (
        f"{name} ran on {near} samples near the boundary and on a random {drawn} of the other {drawn + rest}, of which "
        f"it broke {left_out.broken}; with 95 % confidence it would break at most {at_most} of the {rest} left out: "
        f"robust accuracy {(robust - at_most) / n:.1%} or more under {name} in full"
    )
