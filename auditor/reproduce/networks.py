"""Small networks of the paper's five families: they train on one thread in a minute or two.

Each takes ``(N, C, S, S)`` in [0, 1] to logits ``(N, K)`` and is built for channels, size, classes and a width factor.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from auditor.zoo.demo.networks import Normalize, ResidualBlock

Builder = Callable[[int, int, int, float], nn.Module]
MEAN, STD = 0.35, 0.35


def build(family: str, channels: int, size: int, classes: int, width: float) -> nn.Module:
    """A network of this family, initialised from torch's global generator."""
    return FAMILIES[family](channels, size, classes, width).to(memory_format=torch.channels_last)


def _scaled(base: int, width: float) -> int:
    return max(4, round(base * width / 4) * 4)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _head(features: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def resnet(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    """Residual blocks (He et al., 2016)."""
    a = _scaled(12, width)
    return nn.Sequential(
        Normalize(MEAN, STD), _conv(channels, a, 3, 2), ResidualBlock(a, a, 1), ResidualBlock(a, 2 * a, 2),
        ResidualBlock(2 * a, 4 * a, 2), *_head(4 * a, classes),
    )  # fmt: skip


def vgg(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Convolutions with batch norm in pairs, max pooling, fully connected layers (Simonyan and Zisserman, 2015)."""
    a, left = _scaled(12, width), (size + 1) // 2 // 2 // 2
    return nn.Sequential(
        Normalize(MEAN, STD), _conv(channels, a, 3, 2), _conv(a, a), nn.MaxPool2d(2), _conv(a, 2 * a),
        _conv(2 * a, 2 * a), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * a * left**2, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, classes),
    )  # fmt: skip


def alexnet(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Convolutions and max pooling without normalization, fully connected layers (Krizhevsky et al., 2012)."""
    a, left = _scaled(16, width), (size + 1) // 2 // 2 // 2
    return nn.Sequential(
        Normalize(MEAN, STD), nn.Conv2d(channels, a, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(a, 2 * a, 3, 1, 1),
        nn.ReLU(), nn.Conv2d(2 * a, 2 * a, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2 * a * left**2, 64), nn.ReLU(), nn.Linear(64, classes),
    )  # fmt: skip


class _Dense(nn.Module):
    """Concatenates the input and ``growth`` new channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.grow = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.grow(x)], 1)


def dense_layers(channels: int, width: float) -> tuple[list[nn.Module], int]:
    """Three dense blocks with average pooling between them, and their number of channels."""
    growth, filters = _scaled(8, width), _scaled(16, width)
    layers: list[nn.Module] = [nn.Conv2d(channels, filters, 3, 2, 1, bias=False)]
    for stage in range(3):
        for _ in range(2):
            layers.append(_Dense(filters, growth))
            filters += growth
        if stage < 2:
            layers += [nn.BatchNorm2d(filters), nn.ReLU(), nn.Conv2d(filters, filters // 2, 1), nn.AvgPool2d(2)]
            filters //= 2
    return [*layers, nn.BatchNorm2d(filters), nn.ReLU()], filters


def densenet(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    """Dense blocks and average pooling (Huang et al., 2017)."""
    layers, filters = dense_layers(channels, width)
    return nn.Sequential(Normalize(MEAN, STD), *layers, *_head(filters, classes))


class _Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3, two of 3x3, and average pooling (Szegedy et al., 2015)."""

    def __init__(self, inputs: int, each: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv(inputs, each, 1),
                nn.Sequential(_conv(inputs, each, 1), _conv(each, each)),
                nn.Sequential(_conv(inputs, each // 2, 1), _conv(each // 2, each), _conv(each, each)),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, each, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    """Inception blocks with max pooling between them."""
    a = _scaled(8, width)
    return nn.Sequential(
        Normalize(MEAN, STD), _conv(channels, 2 * a, 3, 2), _Inception(2 * a, a), nn.MaxPool2d(2),
        _Inception(4 * a, 2 * a), *_head(8 * a, classes),
    )  # fmt: skip


FAMILIES: dict[str, Builder] = {
    "resnet": resnet,
    "vgg": vgg,
    "alexnet": alexnet,
    "densenet": densenet,
    "inception": inception,
}
