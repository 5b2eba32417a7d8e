"""The copy of a model that the attacks run: the same function, in fewer operations.

In eval mode a batch norm after a convolution is part of that convolution; folding the two is exact but for rounding.
The copy is used only where it is seen to be the same function: logits and input gradients on a batch, and then the
logits of every adversarial that an attack ends with. What counts as broken is for the model itself to say.
"""

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from auditor.attacks.flags import logit_shift
from auditor.attacks.gradient import cross_entropy, input_gradient

TOLERANCE = 1e-4
"""How far the copy's logits may be from the model's, beside their spread; float32 rounding is some 1e-6."""
GRADIENT_TOLERANCE = 1e-3
PROBED = 16
WORTH_IT = 2000
"""Passes of an image; to make the copy and to compare it takes as long as a few hundred."""
ITSELF = "the copy with folded batch norms went astray: the model itself was attacked"


class AttackCopy:
    """What attacks run on: the model itself, or, once an attack is long enough for it to pay, the copy.

    Args:
        model: in eval mode, parameters without gradients.
        steady: whether the model gives an image the same logits every time and in any batch; else there is no copy.
        images, labels, logits: ``(N, C, H, W)`` in [0, 1], ``(N,)``, ``(N, K)``, what the model gives for the images.
    """

    def __init__(self, model: nn.Module, steady: bool, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        self.model, self.steady = model, steady
        self.probe = images[:PROBED], labels[:PROBED], logits[:PROBED]
        self.copy: nn.Module | None = None if steady else model

    def network(self, passes: int) -> nn.Module:
        """For an attack that may look at so many images, each pass counted."""
        if self.copy is None and passes > WORTH_IT:
            self.copy = make_attack_copy(self.model, *self.probe)
        return self.model if self.copy is None else self.copy

    def astray(self, images: Tensor, logits: Tensor) -> bool:
        """Whether the copy gives others than these logits ``(N, K)`` of the model's; then it is used no more."""
        if self.copy is None or self.copy is self.model or same_logits(self.copy, images, logits):
            return False
        self.give_up()
        return True

    def give_up(self) -> None:
        """Attack the model itself from here on."""
        self.copy = self.model


def make_attack_copy(model: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> nn.Module:
    """A faster copy of the model, or the model itself where none does the same on these few images."""
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return model  # code of somebody else's that may know the modules by name
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # a model that draws for nothing does not move what comes after
        return _made(model, images, labels, logits)


def _made(model: nn.Module, *some: Tensor) -> nn.Module:
    for channels_last in [True, False] if some[0].device.type == "cpu" else [False]:
        try:
            made = _folded(model, some[0])
            if made is None:
                break
            if channels_last:
                made = made.to(memory_format=torch.channels_last)
            if _does_the_same(model, made, *some):
                return made
        except torch.OutOfMemoryError:
            break
        except Exception:  # other people's networks; there is the model itself
            continue
    return model


def same_logits(made: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether the copy gives these logits ``(N, K)`` of the model's for these images, up to rounding."""
    with torch.no_grad():
        return bool((logit_shift(made(images.clone()), logits) <= TOLERANCE).all())


def _does_the_same(model: nn.Module, made: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> bool:
    """Logits and, for most images (a rounded ReLU may switch), the direction of the gradient."""
    before = [buffer.clone() for buffer in made.buffers()]
    if not same_logits(made, images, logits):
        return False
    with torch.enable_grad():
        (ours, _), (theirs, _) = (input_gradient(one, images, cross_entropy(labels)) for one in (made, model))
    off = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1).clamp_min(1e-30)
    unchanged = all(torch.equal(*pair) for pair in zip(before, made.buffers(), strict=True))
    return unchanged and bool(off.median() <= GRADIENT_TOLERANCE)


def _folded(model: nn.Module, images: Tensor) -> nn.Module | None:
    """A copy in which each batch norm that only a convolution feeds is part of it; None where there is no such one."""
    made = copy.deepcopy(model)
    names = {module: name for name, module in made.named_modules()}
    pairs = list(_pairs(made, images))
    for conv, norm in pairs:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # timm's batch norms have their activation inside
        rest = nn.Sequential(*(getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)))
        parent, _, name = names[norm].rpartition(".")
        setattr(made.get_submodule(parent), name, rest)
    return made.requires_grad_(False) if pairs else None


def _pairs(network: nn.Module, images: Tensor) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that take their outputs, seen in a forward pass; each is called once in it."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    fed: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: Counter[nn.Module] = Counter()

    def after(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = module, output  # kept alive: no other tensor gets its id
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in outputs:
            fed.append((outputs[id(given[0])][0], module))

    watched = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    handles = [module.register_forward_hook(after) for module in watched]
    try:
        with torch.no_grad():
            network(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    feeds = Counter(conv for conv, _ in fed)
    for conv, norm in fed:
        if calls[conv] == calls[norm] == feeds[conv] == 1 and norm.track_running_stats:
            yield conv, norm
