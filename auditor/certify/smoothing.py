"""Randomized smoothing (Cohen, Rosenfeld and Kolter, 2019): a certificate in L2 for any model, smoothed.

The smoothed model answers with the class that the model most often gives under Gaussian noise. The certificate is about
that classifier, which is another one than the model: it is no bound of the model's own robust accuracy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.attacks.norms import generators
from auditor.certify.settings import ALPHA, DRAWS, FIRST
from auditor.errors import InputError
from auditor.torch_state import default_modes

ABSTAIN = -1


@dataclass(frozen=True)
class Smoothed:
    """The smoothed model on N samples.

    Attributes:
        predicted: ``(N,)`` int64, its class; -1 where it abstains.
        radii: ``(N,)`` float64, the L2 radius in which its class is constant; 0 where it abstains.
    """

    predicted: NDArray[np.int64]
    radii: NDArray[np.float64]


def lower_probability(count: int, draws: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson bound of a probability, at confidence ``1 - alpha``.

    Example:
        >>> round(lower_probability(1000, 1000, 0.001), 5)  # 0.001 ** (1 / 1000)
        0.99312
    """
    return 0.0 if count == 0 else float(beta.ppf(alpha, count, draws - count + 1))


def certify_smoothing(
    model: nn.Module,
    images: Tensor,
    *,
    sigma: float,
    numbers: Tensor | None = None,
    first: int = FIRST,
    draws: int = DRAWS,
    alpha: float = ALPHA,
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Smoothed:
    """Predict and certify with the smoothed model; each certificate is wrong with a probability of at most ``alpha``.

    The radius is ``sigma * Phi^-1(p)``, with p the lower bound of the probability of the most frequent class; the
    smoothed model abstains where p is at most 1/2. The noise is added to the pixels, which may leave [0, 1]. Each
    sample's noise is drawn by its number, so the size of the batches makes no difference.

    Args:
        model: ``(N, C, H, W)`` to logits ``(N, K)``.
        images: ``(N, C, H, W)`` in [0, 1], on the model's device.
        sigma: the standard deviation of the noise, in units of the [0, 1] pixels, above 0.
        numbers: ``(N,)`` integers that identify the samples; 0 to N - 1 by default.
        first, draws: the draws that choose the class, and those that bound its probability.
        progress: called after each image with the number of images done, and of all.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
        >>> model[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> found = certify_smoothing(model, torch.tensor([[[[0.9, 0.1]]]]), sigma=0.1)
        >>> found.predicted.tolist(), bool(found.radii[0] < 0.8 / 2**0.5)
        ([0], True)
    """
    if not sigma > 0 or not 0 < alpha < 1 or first < 1 or draws < 1:
        raise InputError(f"expected sigma, draws and alpha above 0, got {sigma:g}, {first}, {draws} and {alpha:g}")
    numbers = torch.arange(len(images)) if numbers is None else numbers
    predicted = np.full(len(images), ABSTAIN, dtype=np.int64)
    radii = np.zeros(len(images))
    with default_modes(), frozen(model), torch.no_grad():
        streams = zip(generators(numbers, seed, "smoothing"), images, strict=True)
        for place, (generator, image) in enumerate(streams):
            classes = torch.cat(list(_classes(model, image, generator, sigma, first + draws, batch_size))).numpy()
            winner = int(np.bincount(classes[:first]).argmax())
            bound = lower_probability(int((classes[first:] == winner).sum()), draws, alpha)
            if bound > 0.5:
                predicted[place], radii[place] = winner, sigma * float(norm.ppf(bound))
            if progress:
                progress(place + 1, len(images))
    return Smoothed(predicted, radii)


def _classes(
    model: nn.Module, image: Tensor, generator: np.random.Generator, sigma: float, draws: int, batch_size: int
) -> Iterator[Tensor]:
    """The model's classes for an image ``(C, H, W)`` under ``draws`` draws of noise, in batches."""
    for start in range(0, draws, batch_size):
        count = min(batch_size, draws - start)
        noise = torch.from_numpy(generator.standard_normal((count, *image.shape))).to(image)
        yield model(image + sigma * noise).argmax(1).cpu()
