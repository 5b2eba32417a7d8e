"""The copy of a model that the attacks run: the same function, in fewer operations.

In eval mode a batch norm after a convolution is part of that convolution; folding the two is exact but for rounding.
The copy is used only if it computes the same function: logits and input gradients are compared on a batch, and then
the logits of every adversarial image that an attack returns. The model itself decides what counts as broken.
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
"""The largest accepted change of logits, relative to their spread; float32 rounding is about 1e-6."""
GRADIENT_TOLERANCE = 1e-3
PROBES = 16
MIN_PASSES = 2000
"""The copy pays above this many passes per image: to make and compare it takes as long as a few hundred."""
COPY_REJECTED = "the copy with folded batch norms gave other logits than the model: the model itself was attacked"


class AttackCopy:
    """What attacks run on: the model itself or, once an attack is long enough for a copy to pay, the copy.

    Args:
        model: in eval mode, parameters without gradients.
        reproducible: whether the model gives an image the same logits every time and in any batch; if not, no copy is
            made.
        images, labels, logits: ``(N, C, H, W)`` in [0, 1], ``(N,)``, and the model's logits ``(N, K)`` for the images.
    """

    def __init__(self, model: nn.Module, reproducible: bool, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        self.model, self.reproducible = model, reproducible
        self.probe = images[:PROBES], labels[:PROBES], logits[:PROBES]
        self.copy: nn.Module | None = None if reproducible else model

    def choose_network(self, passes: int) -> nn.Module:
        """What an attack of at most this many passes, counted per image, runs on."""
        if self.copy is None and passes > MIN_PASSES:
            self.copy = make_attack_copy(self.model, *self.probe)
        return self.model if self.copy is None else self.copy

    def reject_if_different(self, images: Tensor, logits: Tensor) -> bool:
        """Stop using the copy if it gives other logits than the model's ``logits (N, K)``; whether it did."""
        if self.copy is None or self.copy is self.model or same_logits(self.copy, images, logits):
            return False
        self.use_model()
        return True

    def use_model(self) -> None:
        """Attack the model itself from here on."""
        self.copy = self.model


def make_attack_copy(model: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> nn.Module:
    """A faster copy of the model, or the model itself if no copy gives the same results on these images."""
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return model  # the hooks' code may rely on the modules' names
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # these passes must not change later random draws
        return _first_equivalent(model, images, labels, logits)


def _first_equivalent(model: nn.Module, *batch: Tensor) -> nn.Module:
    for channels_last in [True, False] if batch[0].device.type == "cpu" else [False]:
        try:
            candidate = _fold_batch_norms(model, batch[0])
            if candidate is None:
                break
            if channels_last:
                candidate = candidate.to(memory_format=torch.channels_last)
            if _is_equivalent(model, candidate, *batch):
                return candidate
        except torch.OutOfMemoryError:
            break
        except Exception:  # the model's own code may fail on a copy; the model itself remains
            continue
    return model


def same_logits(candidate: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether the copy gives the model's ``logits (N, K)`` for these images, up to rounding."""
    with torch.no_grad():
        return bool((logit_shift(candidate(images.clone()), logits) <= TOLERANCE).all())


def _is_equivalent(model: nn.Module, candidate: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> bool:
    """Whether logits and, for most images (rounding may switch a ReLU), gradients agree, and no buffer changes."""
    before = [buffer.clone() for buffer in candidate.buffers()]
    if not same_logits(candidate, images, logits):
        return False
    with torch.enable_grad():
        (ours, _), (theirs, _) = (input_gradient(one, images, cross_entropy(labels)) for one in (candidate, model))
    off = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1).clamp_min(1e-30)
    unchanged = all(torch.equal(*pair) for pair in zip(before, candidate.buffers(), strict=True))
    return unchanged and bool(off.median() <= GRADIENT_TOLERANCE)


def _fold_batch_norms(model: nn.Module, images: Tensor) -> nn.Module | None:
    """A copy with each batch norm folded into the convolution that alone feeds it; None if there is no such pair."""
    folded = copy.deepcopy(model)
    names = {module: name for name, module in folded.named_modules()}
    pairs = list(_find_pairs(folded, images))
    for conv, norm in pairs:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # timm's batch norms have their activation inside
        rest = nn.Sequential(*(getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)))
        parent, _, name = names[norm].rpartition(".")
        setattr(folded.get_submodule(parent), name, rest)
    return folded.requires_grad_(False) if pairs else None


def _find_pairs(network: nn.Module, images: Tensor) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that take their outputs, if a forward pass calls each exactly once."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    fed: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: Counter[nn.Module] = Counter()

    def after(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = module, output  # keeps the tensor alive, so that no other tensor gets its id
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
