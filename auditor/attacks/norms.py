"""The norms that bound a perturbation, one object each. A new norm is a subclass of Norm and an entry in NORMS."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Norm(ABC):
    """A norm of perturbations ``(N, C, H, W)``, taken sample by sample.

    Attributes:
        name: what users call it.
        max_eps: the largest radius that means anything for pixels in [0, 1].
        steps_are_signs: whether :meth:`normalize` gives only -1, 0 and 1, so that an int8 holds a pixel's step.
        overstated: how many times farther than attacks need a boundary seems to first order, compared with Linf; of L2
            as measured on one demo model.

    Example:
        >>> import torch
        >>> gradient = torch.tensor([[[[3.0, -4.0]]]])
        >>> for norm in NORMS.values():
        ...     print(norm.name, norm.dual(gradient).tolist(), norm.normalize(gradient).flatten().tolist())
        Linf [7.0] [1.0, -1.0]
        L2 [5.0] [0.6000000238418579, -0.800000011920929]
    """

    name: str
    max_eps: float
    steps_are_signs: bool
    overstated: float

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
    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        """The point of the ball with radius ``eps`` that is nearest to each perturbation, in its shape."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        """One perturbation of this shape, uniform in the ball with radius ``eps``."""

    @abstractmethod
    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        """Perturbations uniform in the largest cube that the ball contains, from torch's global generator."""

    def project(self, adversarials: Tensor, images: Tensor, eps: float) -> Tensor:
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

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        return delta.clamp(-eps, eps)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        return generator.uniform(-eps, eps, shape)

    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        return torch.empty_like(images).uniform_(-eps, eps)


class L2Norm(Norm):
    """The Euclidean length of the change. It is its own dual."""

    name, max_eps, steps_are_signs = "L2", math.inf, False
    overstated = 10.0

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

    def shrink(self, delta: Tensor, eps: float) -> Tensor:
        return delta * (eps / self.size(delta).clamp_min(1e-12)).clamp_max(1)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], eps: float) -> NDArray[np.float64]:
        direction = generator.standard_normal(shape)
        radius = eps * generator.uniform() ** (1 / direction.size)
        return np.asarray(direction * (radius / np.linalg.norm(direction)))

    def cube_start(self, images: Tensor, eps: float) -> Tensor:
        ratio: float = images[0].numel() ** 0.5  # of the ball's radius to half the cube's side
        return LINF.cube_start(images, eps) / ratio


def generators(numbers: Tensor, seed: int, name: str) -> Iterator[np.random.Generator]:
    """One generator per sample, by its number ``(N,)``, the seed, and the last 8 bytes of the stream's name."""
    stream = int.from_bytes(name.encode()[-8:], "big")
    return (np.random.default_rng([seed, stream, number]) for number in numbers.tolist())


def _per_sample(sizes: Tensor, images: Tensor) -> Tensor:
    """``(N,)`` in a shape that broadcasts against ``images``."""
    return sizes.view(-1, *[1] * (images.ndim - 1))


LINF, L2 = LinfNorm(), L2Norm()
NORMS: dict[str, Norm] = {norm.name: norm for norm in (LINF, L2)}
