"""The gradient's signs at the clean images: looked at for flags, kept for FGSM, which takes its one step along them."""

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import cross_entropy, input_gradient
from auditor.attacks.norms import Norm
from auditor.attacks.protocols import Attack

MOST_BYTES = 2**28


class FirstStep:
    """Kept, an int8 a pixel, where FGSM would find the same signs again.

    Args:
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        norm: only Linf goes by signs.
        steady: whether the model gives an image the same logits every time and in any batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, norm: Norm, steady: bool) -> None:
        self.images, self.labels, self.norm = images, labels, norm
        self.signs: dict[int, Tensor] = {}
        self.keep = steady and norm.steps_are_signs and images.numel() <= MOST_BYTES

    def zero_gradients(self, model: nn.Module, some: Tensor) -> Tensor:
        """``(M,)`` bool: which of these samples have a cross-entropy gradient of exactly 0 in every pixel."""
        labels = self.labels[some]
        gradient, logits = input_gradient(model, self.images[some], cross_entropy(labels))
        if self.keep:
            standing = (logits.argmax(1) == labels).view(-1, 1, 1, 1)
            signs = (self.norm.normalize(gradient) * standing).to(torch.int8)  # PGD leaves alone what is misclassified
            self.signs.update(zip(some.tolist(), signs, strict=True))
        return gradient.flatten(1).abs().amax(1) == 0

    def fgsm(self, attack: Attack, some: Tensor, eps: float) -> Tensor | None:
        """The attack's adversarials ``(M, C, H, W)`` where it is FGSM, and the signs are known."""
        settings = attack.parameters
        if not self.keep or settings["random_start"] or (settings["loss"], settings["steps"]) != ("ce", 1):
            return None
        known = [self.signs.pop(number, None) for number in some.tolist()]
        signs = [sign for sign in known if sign is not None]
        if len(signs) < len(known):  # taken before: the batch is tried again
            return None
        images = self.images[some]
        step = settings["step_fraction"] * eps * torch.stack(signs).to(images)
        return self.norm.project(images + step, images, eps)
