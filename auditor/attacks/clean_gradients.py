"""The gradient's signs at the clean images: taken for flags, and kept for FGSM, whose one step follows them."""

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import cross_entropy, input_gradient
from auditor.attacks.norms import Norm
from auditor.attacks.protocols import Attack

MAX_BYTES = 2**28


class FirstStep:
    """Keeps the signs, one int8 per pixel, if FGSM would find the same signs again.

    Args:
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        norm: signs are kept only if the norm's steps are signs.
        reproducible: whether the model gives an image the same logits every time and in any batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, norm: Norm, reproducible: bool) -> None:
        self.images, self.labels, self.norm = images, labels, norm
        self.signs: dict[int, Tensor] = {}
        self.keeps_signs = reproducible and norm.steps_are_signs and images.numel() <= MAX_BYTES

    def zero_gradients(self, model: nn.Module, samples: Tensor) -> Tensor:
        """``(M,)`` bool: which of these samples have a cross-entropy gradient of exactly 0 in every pixel."""
        labels = self.labels[samples]
        gradient, logits = input_gradient(model, self.images[samples], cross_entropy(labels))
        if self.keeps_signs:
            correct = (logits.argmax(1) == labels).view(-1, 1, 1, 1)
            signs = (self.norm.normalize(gradient) * correct).to(torch.int8)  # PGD does not move a misclassified sample
            self.signs.update(zip(samples.tolist(), signs, strict=True))
        return gradient.flatten(1).abs().amax(1) == 0

    def fgsm(self, attack: Attack, samples: Tensor, eps: float) -> Tensor | None:
        """The adversarial images ``(M, C, H, W)`` if the attack is FGSM and the signs are known; else None."""
        settings = attack.parameters
        if not self.keeps_signs or settings["random_start"] or (settings["loss"], settings["steps"]) != ("ce", 1):
            return None
        known = [self.signs.pop(number, None) for number in samples.tolist()]
        signs = [sign for sign in known if sign is not None]
        if len(signs) < len(known):  # used already: the batch runs again after memory ran out
            return None
        images = self.images[samples]
        step = settings["step_fraction"] * eps * torch.stack(signs).to(images)
        return self.norm.project(images + step, images, eps)
