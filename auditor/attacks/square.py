"""Square Attack (Andriushchenko et al., 2020) for Linf: pyautoattack's, but faster.

The draws are the same, in the same order, and so are the images. The difference: a query computes only the square's
pixels, and a broken sample is removed from the batch once instead of being filtered out at each query.
"""

import math

import numpy as np
import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from auditor.attacks.gradient import margin
from auditor.attacks.norms import generators


class LinfSquare(SquareAttack):  # type: ignore[misc]
    """Margin loss, untargeted; other losses and targets are left to the parent."""

    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, C, H, W)`` in [0, 1], ``(N,)`` to the queries used ``(N,)`` and the best images found."""
        if self.targeted or self.loss != "margin":
            found: tuple[Tensor, Tensor] = super().attack_single_run(x, y)
            return found
        channels, height, width = x.shape[1:]
        stripes = self._draw_stripes(len(x), channels, width)
        best = (x + self.eps * stripes).clamp(0, 1)
        margins, queries = self._margins(best, y), torch.ones(len(x), device=x.device)
        active = (margins > 0).nonzero().flatten()
        now, label, lowest = best[active], y[active], margins[active]
        low, high = x[active] - self.eps, x[active] + self.eps
        for query in range(self.n_queries):
            if not len(active):
                break
            side = self._side(query, height, width)
            top, left = int(self.random_int(0, height - side)), int(self.random_int(0, width - side))
            step = 2 * self.eps * self.random_choice([channels, 1, 1])
            square = ..., slice(top, top + side), slice(left, left + side)
            before = now[square].clone()
            now[square] = torch.clamp(torch.minimum(torch.maximum(before + step, low[square]), high[square]), 0, 1)
            reached = self._margins(now, label)
            better = reached < lowest
            now[square] = torch.where(better.view(-1, 1, 1, 1), now[square], before)
            lowest = torch.where(better, reached, lowest)
            broken = lowest <= 0
            if broken.any():
                best[active], queries[active] = now, query + 2.0
                unbroken = ~broken
                active, now, label, lowest = active[unbroken], now[unbroken], label[unbroken], lowest[unbroken]
                low, high = low[unbroken], high[unbroken]
        best[active], queries[active] = now, self.n_queries + 1.0
        return queries, best

    def _draw_stripes(self, count: int, channels: int, width: int) -> Tensor:
        """``(N, C, 1, W)`` of -1 and 1: the first query."""
        stripes: Tensor = self.random_choice([count, channels, 1, width])
        return stripes

    def _side(self, query: int, height: int, width: int) -> int:
        """The side of the square at this query, in pixels: the schedule is the parent's."""
        side = max(round(math.sqrt(self.p_selection(query) * height * width)), 1)
        return min(side, height, width)

    def _margins(self, images: Tensor, y: Tensor) -> Tensor:
        """``z_y - max_{j != y} z_j``, ``(N,)``."""
        return -margin(y)(self.predict(images))


class SampleSquare(LinfSquare):
    """Draws the first query by each sample's number and all later ones alike, so that the batch makes no difference.

    Attributes:
        numbers: ``(N,)``, of the samples of the next run, which are all classified correctly.
    """

    numbers: Tensor

    def _draw_stripes(self, count: int, channels: int, width: int) -> Tensor:
        assert count == len(self.numbers)
        draws = [
            draw.choice([-1.0, 1.0], (channels, 1, width)) for draw in generators(self.numbers, self.seed, "square")
        ]
        torch.manual_seed(self.seed)
        return torch.from_numpy(np.stack(draws)).to(self.device, torch.float32)
