"""Targeted FAB (Croce and Hein, 2020) for Linf: pyautoattack's, with a projection that does not sort.

A step of FAB projects two points of each sample onto the linearized decision boundary inside the box. The size of
that step is the root of a piecewise linear, concave function, which Newton's method finds in a few passes over the
pixels instead of sorting them.
"""

import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from auditor.attacks.norms import LINF

PASSES = 100
"""More than Newton's method needed in any test; an additional pass changes nothing."""


def project_to_plane(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The smallest moves in Linf to ``w x = b`` inside the [0, 1] box, or as close to it as the box allows.

    Args:
        points: ``(N, D)`` in [0, 1].
        normals: w, ``(N, D)``.
        offsets: b, ``(N,)``.

    Returns:
        ``(N, D)``: the moves; 0 where w is 0.
    """
    excess = (normals * points).sum(1) - offsets
    towards = -normals.sign() * torch.where(excess >= 0, 1.0, -1.0)[:, None]
    room = torch.where(towards > 0, 1 - points, points)
    weights, excess = normals.abs(), excess.abs()
    reach = torch.zeros_like(excess)
    for _ in range(PASSES):
        # a pixel moves by `reach` or by its room; the pixels with room left must cover the rest of the distance
        moving = room > reach[:, None]
        stuck = (weights * room).masked_fill_(moving, 0).sum(1)
        slope = (weights * moving).sum(1)
        further = torch.where(slope > 0, (excess - stuck) / slope, torch.inf)
        if not (further > reach).any():
            break
        reach = torch.maximum(further, reach)
    return towards * torch.minimum(room, reach[:, None])


class LinfFab(FABAttack_PT):  # type: ignore[misc]
    """From the clean image, towards a target class; a random start and an untargeted run are left to the parent."""

    def attack_single_run(
        self, x: Tensor, y: Tensor | None = None, use_rand_start: bool = False, is_targeted: bool = False
    ) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], ``(N,)`` to the nearest misclassified images found; ``x`` where none is found."""
        if y is None or use_rand_start or not is_targeted:
            found: Tensor = super().attack_single_run(x, y, use_rand_start, is_targeted)
            return found
        logits = self.predict(x)
        correct = (logits.argmax(1) == y).nonzero().flatten()
        nearest = x.clone()
        if not len(correct):
            return nearest
        clean, label = x[correct], y[correct]
        target = logits.sort(dim=1).indices[correct, -self.target_class]
        nearest[correct] = self._descend(clean, label, target)
        return nearest

    def _descend(self, clean: Tensor, label: Tensor, target: Tensor) -> Tensor:
        best, distance = clean.clone(), torch.full((len(clean), 1, 1, 1), torch.inf, device=clean.device)
        points = clean.clone()
        for _ in range(self.n_iter):
            points = self._step(points, clean, label, target)
            crossed = (self.predict(points).argmax(1) != label).view(-1, 1, 1, 1)
            if crossed.any():
                moved = points - clean
                size = LINF.size(moved)
                nearer = crossed & (size < distance)
                distance = torch.where(nearer, size, distance)
                best = torch.where(nearer, points, best)
                points = torch.where(crossed, clean + self.beta * moved, points)
        return best

    def _step(self, points: Tensor, clean: Tensor, label: Tensor, target: Tensor) -> Tensor:
        """A step beyond the linearized boundary, drawn a little towards the clean image's projection onto it."""
        difference, gradient = self.get_diff_logits_grads_batch_targeted(points, label, target)
        normal = gradient.flatten(1)
        offset = (normal * points.flatten(1)).sum(1) - difference.flatten()
        both = torch.cat([points.flatten(1), clean.flatten(1)])
        moves = project_to_plane(both, normal.repeat(2, 1), offset.repeat(2))
        size = moves.abs().amax(1).clamp_min(1e-8).view(2, -1, 1, 1, 1)
        share = (size[0] / (size[0] + size[1])).clamp(0, self.alpha_max)
        from_point, from_clean = moves.view(2, *points.shape)
        mixed: Tensor = (points + self.eta * from_point) * (1 - share) + (clean + self.eta * from_clean) * share
        return mixed.clamp(0, 1)
