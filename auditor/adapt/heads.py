"""Replace the head of a trained network: superclasses instead of classes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from auditor.attacks.gradient import frozen
from auditor.errors import InputError
from auditor.torch_state import set_eval
from auditor.zoo.normalized import inner_network

Head = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Adapted:
    """A network ``(N, C, H, W)`` to superclass logits ``(N, M)``, in eval mode, and its new layer."""

    model: nn.Module
    head: Head


def superclass_head(
    model: nn.Module, members: Sequence[Sequence[int]], probe: Tensor, *, fresh: bool = False, seed: int = 0
) -> Adapted:
    """Copy ``model`` and replace its last layer by one that predicts superclasses.

    The new layer starts with the mean of the templates of a superclass's source classes, so that a superclass's logit
    is the mean of their logits. A fresh head starts with torch's initialization of a linear layer.

    Args:
        model: ``(N, C, H, W)`` to logits ``(N, K)``: a timm network, or one that ends with a linear layer.
        members: for each superclass the numbers of its source classes, 0 to K - 1.
        probe: images ``(N, C, H, W)`` in [0, 1] for a check of the new head.
        seed: the seed of a fresh head.

    Raises:
        InputError: there is no such layer, or its output is not the logits.
    """
    model = set_eval(copy.deepcopy(model))
    with frozen(model), torch.no_grad():
        logits = model(probe)
    old = find_head(model, logits.shape[1])
    _check(model, old, probe)
    new = _replace(model, old, len(members), seed)
    if not fresh:
        _average(old, new, members)
    with frozen(model), torch.no_grad():
        found = model(probe)
    if found.shape != (len(probe), len(members)):
        raise InputError(f"expected logits (N, {len(members)}) with the new head, got {tuple(found.shape)}")
    return Adapted(model, new)


def _check(model: nn.Module, head: Head, probe: Tensor) -> None:
    """Raises InputError if the output of the layer is not the logits of the network."""
    outputs: list[Tensor] = []
    hook = head.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    with frozen(model), torch.no_grad():
        logits = model(probe)
    hook.remove()
    if len(outputs) != 1 or not torch.equal(outputs[0].flatten(1), logits):
        raise InputError(
            "the head cannot be replaced, because the network's last linear layer does not give its logits"
        )


def find_head(model: nn.Module, classes: int) -> Head:
    """The layer that gives the logits: timm's classifier, else the last linear layer with ``classes`` outputs.

    Raises:
        InputError: there is no such layer.
    """
    network: Any = inner_network(model)
    if hasattr(network, "get_classifier") and hasattr(network, "reset_classifier"):
        layers = [network.get_classifier()]
    else:
        layers = [
            layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.out_features == classes
        ]
    head = layers[-1] if layers else None
    if not isinstance(head, Head):
        exported = "; a program of torch.export has functions in place of layers: adapt the original network"
        raise InputError(
            f"expected a network that ends with a linear layer of {classes} classes, got none in it"
            f"{exported if isinstance(network, GraphModule) else ''}"
        )
    return head


def _replace(model: nn.Module, old: Head, outputs: int, seed: int) -> Head:
    """Replace ``old`` by a new layer with torch's initialization, drawn by the seed."""
    network: Any = inner_network(model)
    with torch.random.fork_rng([old.weight.device] if old.weight.is_cuda else []):
        torch.manual_seed(seed)
        if hasattr(network, "reset_classifier"):
            network.reset_classifier(outputs)
            new = find_head(model, outputs).to(old.weight)
            new.reset_parameters()  # timm initializes some heads with zeros
            return new
        layer = nn.Linear(old.weight.shape[1], outputs, bias=old.bias is not None).to(old.weight)
    names = [name for name, child in network.named_modules(remove_duplicate=False) if child is old]
    for name in names:  # a layer with two names is replaced under both
        network.set_submodule(name, layer)
    return layer


def _average(old: Head, new: Head, members: Sequence[Sequence[int]]) -> None:
    with torch.no_grad():
        for number, numbers in enumerate(members):
            new.weight[number] = old.weight[list(numbers)].mean(0)
            if new.bias is not None:
                new.bias[number] = 0.0 if old.bias is None else old.bias[list(numbers)].mean(0)
