"""Square Attack (Andriushchenko et al., 2020): pyautoattack's, but faster, and with draws by sample.

For Linf the draws are the same, in the same order, and so are the images. The difference: a query computes only the
square's pixels, and a broken sample is removed from the batch once instead of being filtered out at each query.

With draws by sample, a sample's number draws its first query and, for L2, its signs. Where the squares lie is drawn
once for all samples. So the batch makes no difference.
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
    """For Linf, with draws by sample.

    Attributes:
        numbers: ``(N,)``, of the samples of the next run, which are all classified correctly.
    """

    numbers: Tensor

    def _draw_stripes(self, count: int, channels: int, width: int) -> Tensor:
        assert count == len(self.numbers)
        stripes = draw_signs(self.numbers, self.seed, (channels, 1, width))
        torch.manual_seed(self.seed)
        return stripes.to(self.device, torch.float32)


class SampleSquareL2(SquareAttack):  # type: ignore[misc]
    """For L2, with draws by sample; margin loss, untargeted.

    The image is tiled with bumps first. A query then moves the budget of one square to another, and bends the latter's
    perturbation by a bump with a random sign for each channel.

    Attributes:
        numbers: ``(N,)``, of the samples of the next run, which are all classified correctly.
    """

    numbers: Tensor

    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, C, H, W)`` in [0, 1], ``(N,)`` to the queries used ``(N,)`` and the best images found."""
        channels, height, width = x.shape[1:]
        torch.manual_seed(self.seed)
        best = self._within(x, self._tile(x))
        lowest, queries = -margin(y)(self.predict(best)), torch.ones(len(x), device=x.device)
        active = (lowest > 0).nonzero().flatten()
        signs = draw_signs(self.numbers, self.seed, (self.n_queries, channels)).to(x.device)
        for query in range(self.n_queries):
            if not len(active):
                break
            side = max(round(math.sqrt(self.p_selection(query) * height * width)), 3)
            side = min(side + 1 - side % 2, height, width)
            to, source = (self._place(side, height, width) for _ in range(2))
            clean, now = x[active], best[active]
            sign = signs[active, query].to(x)[..., None, None]
            new = self._within(clean, self._move(now - clean, to, source, self.eta(side) * sign))
            reached = -margin(y[active])(self.predict(new))
            better = (reached < lowest[active]) | (reached <= 0)
            best[active[better]], lowest[active[better]] = new[better], reached[better]
            queries[active] += 1
            active = active[lowest[active] > 0]
        return queries, best

    def _tile(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)``: bumps side by side, with a random sign for each sample and channel."""
        channels, height, width = x.shape[1:]
        side = max(height // 5, 1)
        border, tiles = (height - 5 * side) // 2, (height // side, width // side)
        signs = draw_signs(self.numbers, self.seed, (*tiles, channels), "tiles").to(x)
        delta = torch.zeros_like(x)
        for row in range(tiles[0]):
            for column in range(tiles[1]):
                top, left = border + row * side, border + column * side
                square = delta[..., top : top + side, left : left + side]
                bump = self.eta(side)[: square.shape[2], : square.shape[3]]
                square += bump * signs[:, row, column, :, None, None]
        return delta

    def _move(self, delta: Tensor, to: "Square", source: "Square", bump: Tensor) -> Tensor:
        """The perturbations with the budget of ``source``, and what is left of eps, in ``to``."""
        channels, used = delta.shape[1], self.lp_norm(delta)
        both = torch.zeros(delta.shape[2:], device=delta.device)
        both[to] = both[source] = 1
        budget = (delta * both).pow(2).sum((-2, -1), keepdim=True)
        old = delta[..., *to]
        new = bump + old / (1e-12 + old.pow(2).sum((-2, -1), keepdim=True).sqrt())
        new = new / (1e-12 + new.pow(2).sum((-2, -1), keepdim=True).sqrt())
        new = new * ((self.eps**2 - used**2).clamp_min(0) / channels + budget).sqrt()
        moved = delta.clone()
        moved[..., *source] = 0
        moved[..., *to] = new
        return moved

    def _within(self, x: Tensor, delta: Tensor) -> Tensor:
        """The images moved by eps in the directions ``delta``, in the [0, 1] box."""
        moved: Tensor = x + self.normalize(delta) * self.eps
        return moved.clamp(0, 1)

    def _place(self, side: int, height: int, width: int) -> "Square":
        top, left = int(self.random_int(0, height - side)), int(self.random_int(0, width - side))
        return slice(top, top + side), slice(left, left + side)


Square = tuple[slice, slice]
"""Rows and columns of an image."""


def draw_signs(numbers: Tensor, seed: int, shape: tuple[int, ...], name: str = "square") -> Tensor:
    """``(N, *shape)`` int8 of -1 and 1, drawn by each sample's number ``(N,)``."""
    signs = np.array([-1, 1], np.int8)
    return torch.from_numpy(np.stack([draw.choice(signs, shape) for draw in generators(numbers, seed, name)]))
