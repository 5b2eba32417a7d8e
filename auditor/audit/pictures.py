"""The pictures of a network's templates, as an audit stores them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.linear import template_gram
from auditor.records import ZooEntry
from auditor.records.corruptions import ball_of
from auditor.records.templates import Templates, stored_size
from auditor.screening import screen

Size = tuple[int, int, int]


def linearized_pictures(pictures: Tensor | None, input_size: Size) -> Templates | None:
    """The pictures of W; None if there are none, or if they are not finite."""
    if pictures is None or not pictures.isfinite().all():
        return None
    return Templates(kind="linearized", values=pictures.numpy(), size=input_size[1:])


class LocalPictures:
    """The mean of the local linear maps over all probes that a screening has looked at."""

    def __init__(self, input_size: Size) -> None:
        self.input_size = input_size
        self.parts: list[tuple[Tensor, int]] = []

    def add(self, mean_map: Tensor, probes: int) -> None:
        """Add the mean ``(K, C, H, W)`` over this many probes."""
        size = stored_size(len(mean_map), self.input_size[0], self.input_size[1:])
        self.parts.append((F.adaptive_avg_pool2d(mean_map, size).cpu() * probes, probes))

    def mean(self) -> Templates | None:
        """The mean over all probes; None without any."""
        if not self.parts:
            return None
        probes = sum(number for _, number in self.parts)
        values = torch.stack([total for total, _ in self.parts]).sum(0) / probes
        return Templates(kind="local", values=values.numpy(), size=self.input_size[1:], probes=probes)


def compute_pictures(
    model: torch.nn.Module, entry: ZooEntry, *, classes: int, linearization: str, seed: int
) -> tuple[Templates, ...]:
    """The pictures that an audit with this linearization and seed stores, from the model alone.

    Raises:
        LinearizationError: the linearized network is not affine.
    """
    batch_norm: Any = linearization
    size = stored_size(classes, entry.input_size[0], entry.input_size[1:])
    gram = template_gram(model, entry.input_size, batch_norm=batch_norm, pictures=size)
    local = LocalPictures(entry.input_size)
    norm, eps = ball_of(entry)
    screen(model, entry.input_size, None, norm=norm, eps=eps, seed=seed, gap=0.0, collect=local.add)
    made = (linearized_pictures(gram.pictures, entry.input_size), local.mean())
    return tuple(part for part in made if part is not None)
