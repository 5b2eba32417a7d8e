"""Networks at random initialisation: many families for the null distribution, and the same family at several depths."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.zoo.demo.networks import PlainConvNet, SmallResNet


@dataclass(frozen=True)
class Architecture:
    """A network to be built anew with random weights; ``layers`` counts convolutions and fully connected layers."""

    name: str
    side: int
    build: Callable[[int], nn.Module]
    channels: int = 3

    @property
    def input_size(self) -> tuple[int, int, int]:
        return (self.channels, self.side, self.side)

    def random(self, classes: int, seed: int) -> nn.Module:
        """In eval mode; the weights are those that its authors' initialisation draws from the seed."""
        torch.manual_seed(seed)
        return self.build(classes).eval()


def layers(network: nn.Module) -> int:
    """Convolutions and fully connected layers on the longest way: all of them but shortcuts of 1x1."""
    kinds = (nn.Conv2d, nn.Linear)
    return sum(isinstance(part, kinds) and "downsample" not in name for name, part in network.named_modules())


class Plain(nn.Module):
    """A stem, then ``depth`` 3x3 convolutions with batch norm and ReLU, on four scales; with or without shortcuts."""

    def __init__(self, depth: int, shortcuts: bool, classes: int, width: int = 128) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)
        self.shortcuts = shortcuts
        for part in (self.stem, *self.convolutions):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        halvings = {len(self.convolutions) * part // 4 for part in (1, 2, 3)}
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = F.avg_pool2d(x, 2) if number in halvings else x
            y = F.relu(norm(convolution(x)))
            x = x + y if self.shortcuts else y
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def _timm(name: str, side: int = 32, label: str | None = None, **arguments: Any) -> Architecture:
    return Architecture(
        label or name, side, lambda classes: timm.create_model(name, num_classes=classes, pretrained=False, **arguments)
    )


def _torchvision(name: str, side: int = 32, **arguments: Any) -> Architecture:
    return Architecture(
        f"torchvision {name}",
        side,
        lambda classes: torchvision.models.get_model(name, weights=None, num_classes=classes, **arguments),
    )


def _plain(depth: int, shortcuts: bool) -> Architecture:
    name = f"plain, {depth} convolutions{', shortcuts' if shortcuts else ''}"
    return Architecture(name, 32, lambda classes: Plain(depth, shortcuts, classes))


FAMILIES = (
    _timm("resnet18"), _timm("resnet50"), _timm("resnext50_32x4d"), _timm("seresnet50"), _timm("res2net50_26w_4s"),
    _torchvision("vgg11"), _torchvision("vgg16_bn"), _torchvision("squeezenet1_1"),
    _torchvision("shufflenet_v2_x0_5"), _timm("densenet121"), _timm("mobilenetv2_050"),
    _timm("mobilenetv3_small_050"), _timm("tf_efficientnet_lite0"), _timm("efficientnet_b0"), _timm("mnasnet_100"),
    _timm("ghostnet_050"), _timm("lcnet_050"), _timm("regnetx_002"), _timm("regnety_002"), _timm("dla34"),
    _timm("repvgg_a0"), _timm("mobileone_s0"), _timm("cspdarknet53"), _timm("convnext_atto"),
    _timm("convnextv2_atto"), _timm("poolformer_s12"), _timm("edgenext_xx_small"),
    _timm("vit_tiny_patch16_224", 64, img_size=64),
)  # fmt: skip

DEMO = {
    "small_resnet": Architecture("small_resnet", 28, SmallResNet, 1),
    "plain_convnet": Architecture("plain_convnet", 28, PlainConvNet, 1),
}

DEPTHS: dict[str, tuple[Architecture, ...]] = {
    "plain": tuple(_plain(depth, False) for depth in (2, 4, 8, 16, 32)),
    "plain with shortcuts": tuple(_plain(depth, True) for depth in (2, 4, 8, 16, 32)),
    "ResNet": tuple(_torchvision(f"resnet{depth}", 64) for depth in (18, 34, 50, 101)),
    "VGG": tuple(_torchvision(f"vgg{depth}", 64) for depth in (11, 13, 16, 19)),
    "DenseNet": tuple(_torchvision(f"densenet{depth}", 64) for depth in (121, 169, 201)),
    "ViT": tuple(
        _timm("vit_tiny_patch16_224", 64, f"vit_tiny, {depth} blocks", img_size=64, depth=depth) for depth in (2, 6, 12)
    ),
}
