"""The norms that bound a perturbation, one object each. A new norm is a subclass of Norm and an entry in NORMS."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPREAD = 0.05
"""A step in L1 changes this share of the pixels. SLIDE takes 1 %."""
Radius = float | Tensor
"""Of one ball for all samples, or ``(N, 1, 1, 1)``: of a ball for each."""


class Norm(ABC):
    """A norm of perturbations ``(N, C, H, W)``, taken sample by sample.

    Attributes:
        name: what users call it.
        max_eps: the largest radius that means anything for pixels in [0, 1].
        steps_are_signs: whether :meth:`normalize` gives only -1, 0 and 1, so that an int8 holds a pixel's step.
        overstated: how many times farther than attacks need a boundary seems to first order, compared with Linf; of L2
            as measured on three demo models.
        radii: of the balls, in eps, in which the ascents of a search run one after the other; the last is the ball
            itself. In L2 there are wider ones, because the gradient of a network that was trained in Linf is small near
            the clean image, and lies on a few pixels; farther out it is several times as large, on more of them.

    Example:
        >>> import torch
        >>> gradient = torch.tensor([[[[3.0, -4.0]]]])
        >>> for norm in NORMS.values():
        ...     print(norm.name, norm.dual(gradient).tolist(), norm.normalize(gradient).flatten().tolist())
        Linf [7.0] [1.0, -1.0]
        L2 [5.0] [0.6000000238418579, -0.800000011920929]
        L1 [4.0] [0.0, -1.0]
    """

    name: str
    max_eps: float
    steps_are_signs: bool
    overstated: float
    radii: tuple[float, ...] = (1.0,)

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """The norm of each sample, ``(N, C, H, W)`` to ``(N, 1, 1, 1)``."""

    @abstractmethod
    def dual(self, gradient: Tensor) -> Tensor:
        """The dual norm of each gradient, ``(N, C, H, W)`` to ``(N,)``: the slope along the steepest unit step."""

    @abstractmethod
    def normalize(self, gradient: Tensor) -> Tensor:
        """The steepest step of unit norm along each gradient, in its shape; 0 where the gradient is 0."""

    @abstractmethod
    def shrink(self, delta: Tensor, eps: Radius) -> Tensor:
        """The point of the ball with radius ``eps`` that is nearest to each perturbation, in its shape."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        """One perturbation of this shape, uniform in the ball with radius ``eps``."""

    @abstractmethod
    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        """Perturbations uniform in the largest cube that the ball contains, from torch's global generator."""

    def project(self, adversarials: Tensor, images: Tensor, eps: Radius) -> Tensor:
        """Move points ``(N, C, H, W)`` into the ball around ``images`` and then into the [0, 1] pixel box."""
        return (images + self.shrink(adversarials - images, eps)).clamp(0, 1)

    def within_budget(self, adversarials: Tensor, images: Tensor, eps: float) -> Tensor:
        """``(N,)`` bool: finite, in the [0, 1] box and in the ball, up to float32 rounding."""
        flat = adversarials.flatten(1)
        finite = torch.isfinite(flat).all(1)
        in_box = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
        return finite & in_box & (self.size(adversarials - images).flatten() <= eps * (1 + 1e-5) + 1e-7)

    def random_start(self, numbers: Tensor, images: Tensor, eps: float, *, seed: int, name: str) -> Tensor:
        """One perturbation per sample, drawn by the sample's number: the batch that it is in makes no difference.

        Args:
            numbers: ``(N,)`` integers that identify the samples.
            images: ``(N, C, H, W)``; the result has their shape, dtype and device.
            eps: the radius of the ball.
            seed, name: the seed and the attack's name, which choose the random stream.
        """
        draws = [self.draw(generator, tuple(images.shape[1:]), eps) for generator in generators(numbers, seed, name)]
        return torch.from_numpy(np.stack(draws)).to(images)


class LinfNorm(Norm):
    """The largest absolute change of a pixel. Its dual is the L1 norm."""

    name, max_eps, steps_are_signs = "Linf", 1.0, True
    overstated = 1.0

    def size(self, delta: Tensor) -> Tensor:
        return _per_sample(delta.flatten(1).abs().amax(1), delta)

    def dual(self, gradient: Tensor) -> Tensor:
        return gradient.flatten(1).abs().sum(1)

    def normalize(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def shrink(self, delta: Tensor, eps: Radius) -> Tensor:
        radius = torch.as_tensor(eps, dtype=delta.dtype, device=delta.device)
        return delta.clamp(-radius, radius)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        return generator.uniform(-eps, eps, shape)

    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        return torch.empty_like(images).uniform_(-eps, eps)


class L2Norm(Norm):
    """The Euclidean length of the change. It is its own dual."""

    name, max_eps, steps_are_signs = "L2", math.inf, False
    overstated = 3.0
    radii = tuple(2 ** (power / 2) for power in range(6, -1, -1))

    def size(self, delta: Tensor) -> Tensor:
        return _per_sample(delta.flatten(1).norm(dim=1), delta)

    def dual(self, gradient: Tensor) -> Tensor:
        return self.size(gradient).flatten()

    def normalize(self, gradient: Tensor) -> Tensor:
        size = self.size(gradient)
        tiny = size < 1e-12  # the squares may have left float32
        if tiny.any():
            gradient = torch.where(tiny, gradient / LINF.size(gradient).clamp_min(1e-37), gradient)
            size = self.size(gradient)
        return gradient / size.clamp_min(1e-12)

    def shrink(self, delta: Tensor, eps: Radius) -> Tensor:
        scale: Tensor = (eps / self.size(delta).clamp_min(1e-12)).clamp_max(1)
        return delta * scale

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        direction = generator.standard_normal(shape)
        radius = eps * generator.uniform() ** (1 / direction.size)
        return np.asarray(direction * (radius / np.linalg.norm(direction)))

    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        ratio: float = images[0].numel() ** 0.5  # of the ball's radius to half the cube's side
        return LINF.cube_start(images, eps) / ratio


class L1Norm(Norm):
    """The sum of the absolute changes of all pixels. Its dual is the largest absolute value of the gradient.

    The steepest step of unit norm changes one pixel only, and in the box that pixel soon stops. So a step spreads over
    the pixels with the largest gradients, as in SLIDE (Tramèr and Boneh, 2019) and APGD for L1 (Croce and Hein, 2021).
    From the latter comes the projection, too: on the ball and the box together, because in high dimensions clipping
    after the projection on the ball would leave most of the budget unused.
    """

    name, max_eps, steps_are_signs = "L1", math.inf, False
    overstated = 10.0  # not measured in L1

    def size(self, delta: Tensor) -> Tensor:
        return _per_sample(delta.flatten(1).abs().sum(1), delta)

    def dual(self, gradient: Tensor) -> Tensor:
        return gradient.flatten(1).abs().amax(1)

    def normalize(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        largest = flat.abs().topk(max(1, round(SPREAD * flat.shape[1])), dim=1).indices
        step = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign())
        return (step / step.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)

    def shrink(self, delta: Tensor, eps: Radius) -> Tensor:
        flat = delta.flatten(1)
        return _shrink_within(flat, torch.full_like(flat, math.inf), eps).view_as(delta)

    def project(self, adversarials: Tensor, images: Tensor, eps: Radius) -> Tensor:
        delta = adversarials - images
        room = torch.where(delta > 0, 1 - images, images).flatten(1)
        moved = _shrink_within(delta.flatten(1), room, eps).view_as(delta)
        return (images + moved).clamp(0, 1)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        # the sizes of D of D + 1 exponential variates, as shares of their sum, are uniform in the simplex
        sizes = generator.exponential(size=math.prod(shape) + 1)
        signs = generator.choice([-1.0, 1.0], size=len(sizes) - 1)
        return np.asarray(eps * signs * sizes[:-1] / sizes.sum()).reshape(shape)

    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        return LINF.cube_start(images, eps) / images[0].numel()


def _shrink_within(delta: Tensor, room: Tensor, eps: Radius) -> Tensor:
    """The point nearest to each ``delta (N, D)`` with an L1 norm of at most ``eps`` and no change beyond ``room``.

    Each change is ``|delta| - t``, cut at 0 and at its room, for one ``t`` of the sample. The sum of the changes is
    piecewise linear in ``t``; its corners are sorted, and ``t`` lies between two of them. Without room limits it is
    the projection of Duchi et al. (2008).
    """
    sizes, room = delta.abs().double(), room.double()
    budget = eps.flatten()[:, None].double() if isinstance(eps, Tensor) else sizes.new_full((len(sizes), 1), eps)
    inside = torch.minimum(sizes, room).sum(1, keepdim=True) <= budget
    # from the largest t down: at |delta| a change begins to grow with slope 1, at |delta| - room it stops
    corners = torch.cat([sizes, (sizes - room).clamp_min(0)], 1)
    slopes = torch.cat([torch.ones_like(sizes), -torch.ones_like(sizes)], 1)
    corners, order = corners.sort(dim=1, descending=True)
    slope = slopes.gather(1, order).cumsum(1)
    total = torch.zeros_like(corners)
    total[:, 1:] = (slope[:, :-1] * (corners[:, :-1] - corners[:, 1:])).cumsum(1)
    last = (total <= budget).sum(1, keepdim=True) - 1  # the lowest corner at which the budget is kept
    further = (budget - total.gather(1, last)) / slope.gather(1, last).clamp_min(1)
    threshold = torch.where(inside, 0.0, (corners.gather(1, last) - further).clamp_min(0))
    moved = torch.minimum((sizes - threshold).clamp_min(0), room)
    return (moved * delta.sign()).to(delta)


def generators(numbers: Tensor, seed: int, name: str) -> Iterator[np.random.Generator]:
    """One generator per sample, by its number ``(N,)``, the seed, and the last 8 bytes of the stream's name."""
    stream = int.from_bytes(name.encode()[-8:], "big")
    return (np.random.default_rng([seed, stream, number]) for number in numbers.tolist())


def _per_sample(sizes: Tensor, images: Tensor) -> Tensor:
    """``(N,)`` in a shape that broadcasts against ``images``."""
    return sizes.view(-1, *[1] * (images.ndim - 1))


LINF, L2, L1 = LinfNorm(), L2Norm(), L1Norm()
NORMS: dict[str, Norm] = {norm.name: norm for norm in (LINF, L2, L1)}
