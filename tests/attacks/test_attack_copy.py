"""The folded copy: the same function as the model, or the model itself."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2, resnet18

from auditor.attacks import evaluate_robustness
from auditor.attacks.attack_copy import COPY_REJECTED, make_attack_copy, same_logits
from auditor.attacks.gradient import cross_entropy, frozen, input_gradient
from auditor.zoo.demo import DemoZoo
from auditor.zoo.timm import import_timm


def _lived_in(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics and weights of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def _demo() -> nn.Module:
    zoo = DemoZoo()
    return zoo.load(next(iter(zoo.entries()))).model


def _norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def _copy(model: nn.Module, images: Tensor) -> nn.Module:
    with torch.no_grad():
        logits = model(images.clone())
    return make_attack_copy(model, images, torch.zeros(len(images), dtype=torch.int64), logits)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (_demo, (1, 28, 28)),
        (lambda: resnet18(num_classes=5), (3, 32, 32)),
        (lambda: mobilenet_v2(num_classes=5), (3, 32, 32)),
        (
            lambda: import_timm().create_model("efficientnet_b0", num_classes=5),
            (3, 32, 32),
        ),  # activations in batch norms
    ],
    ids=["demo", "resnet18", "mobilenet_v2", "timm-efficientnet_b0"],
)
def test_a_copy_without_batch_norms_is_the_same_function(make: object, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, images, others = _lived_in(make()), torch.rand(8, *shape), torch.rand(3, *shape)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with frozen(model):
        made = _copy(model, images)
        assert made is not model
        assert _norms(made) == 0 < _norms(model)
        assert not any(parameter.requires_grad for parameter in made.parameters())
        labels = torch.tensor([0, 1, 2])
        ours, theirs = (input_gradient(one, others, cross_entropy(labels)) for one in (made, model))
    spread = theirs[1].std()
    torch.testing.assert_close(ours[1] / spread, theirs[1] / spread, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-3 * theirs[0].abs().max().item(), rtol=1e-3)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


class Odd(nn.Module):
    """A network of one convolution and one batch norm, put together in a way that folding would get wrong."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.way, self.conv, self.norm, self.head = way, nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)
        nn.init.normal_(self.head.weight, std=4)  # logits of a usual spread
        self.register_buffer("calls", torch.zeros(()))
        if way == "hook":
            self.conv.register_forward_hook(lambda _module, _given, output: output * 1.5)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv(x)
        y = self.norm(first)
        if self.way == "reused":
            y = y + first
        if self.way == "twice":
            y = self.norm(self.conv(x.flip(3))) + y
        if self.way == "counts":
            self.calls += 1
        if self.way == "far":  # another function where no image has been seen yet
            y = torch.where(x.amax(dim=(1, 2, 3), keepdim=True) > 0.9, y + first, y)
        return self.head(F.relu(y).mean(dim=(2, 3)))


@pytest.mark.parametrize("way", ["hook", "reused", "twice", "counts"])
def test_where_folding_is_wrong_the_model_itself_is_attacked(way: str) -> None:
    model, images = _lived_in(Odd(way)), torch.rand(4, 1, 8, 8)
    with frozen(model):
        made = _copy(model, images)
        with torch.no_grad():
            assert made is model or _norms(made) == 1
            assert same_logits(made, images, model(images))


def test_networks_that_view_channels_need_the_plain_layout() -> None:
    class Viewing(Odd):
        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x))
            return self.head(y.view(len(y), 4, -1).amax(2))

    model, images = _lived_in(Viewing("plain")), torch.rand(4, 1, 8, 8)
    with frozen(model):
        made = _copy(model, images)
        assert _norms(made) == 0
        assert made(images).shape == (4, 5)


def test_a_copy_that_goes_astray_is_given_up_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.attacks.attack_copy.MIN_PASSES", 0)
    model, images = _lived_in(Odd("far")), 0.5 + 0.1 * torch.rand(12, 1, 8, 8)
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=0.5, protocol="quick")
    assert COPY_REJECTED in found.notes
    plain = evaluate_robustness(_hooked(model), images, labels, norm="Linf", eps=0.5, protocol="quick")
    assert COPY_REJECTED not in plain.notes
    assert torch.equal(found.survived, plain.survived)


def _hooked(model: nn.Module) -> nn.Module:
    """With a hook that does nothing no copy is made."""
    model.register_forward_hook(lambda _module, _given, _output: None)
    return model
