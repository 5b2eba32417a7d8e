"""Random starts drawn by sample, so that a verdict does not depend on the batch a sample is in."""

import numpy as np
import torch
from torch import Tensor


def start_noise(numbers: Tensor, like: Tensor, *, norm: str, eps: float, seed: int, name: str) -> Tensor:
    """A random start in the norm ball for each sample, drawn by its number: the same in whatever batch."""
    stream = int.from_bytes(name.encode()[-8:], "big")
    shape = like.shape[1:]
    draws = []
    for number in numbers.tolist():
        generator = np.random.default_rng([seed, stream, number])
        if norm == "Linf":
            draws.append(generator.uniform(-eps, eps, shape))
        else:
            direction = generator.standard_normal(shape)
            radius = eps * generator.uniform() ** (1 / direction.size)
            draws.append(direction * (radius / np.linalg.norm(direction)))
    return torch.from_numpy(np.stack(draws)).to(like)
