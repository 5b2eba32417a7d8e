"""The study zoo's networks: eleven families, small enough to train in seconds on one thread.

Each takes ``(N, C, S, S)`` in [0, 1] to logits ``(N, K)`` and is built for channels, size, classes and a width factor.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.reproduce.networks import dense_layers

Builder = Callable[[int, int, int, float], nn.Module]


class Standardize(nn.Module):
    """``(x - 0.35) / 0.35`` as the first layer, so that attacks only ever see [0, 1] pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.35) / 0.35


class Residual(nn.Module):
    """``x + block(x)``, with a projection where the shape changes."""

    def __init__(self, block: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.shortcut = block, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.shortcut(x) + self.block(x)
        return result


class Pool(nn.Module):
    """The mean over places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def _scaled(base: int, width: float, multiple: int = 4) -> int:
    return max(multiple, round(base * width / multiple) * multiple)


def perceptron(channels: int, size: int, classes: int, width: float) -> nn.Module:
    hidden = _scaled(192, width)
    return nn.Sequential(
        Standardize(), nn.Flatten(), nn.Linear(channels * size**2, hidden), nn.ReLU(), nn.Linear(hidden, hidden // 2),
        nn.ReLU(), nn.Linear(hidden // 2, classes),
    )  # fmt: skip


def plain(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Convolutions and max pooling without normalization."""
    a, b = _scaled(16, width), _scaled(32, width)
    left = (size // 2) // 2 // 2
    return nn.Sequential(
        Standardize(), nn.Conv2d(channels, a, 3, 2, 1), nn.ReLU(), nn.Conv2d(a, b, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(b, 2 * b, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * b * left**2, classes),
    )  # fmt: skip


def lenet(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Tanh and average pooling, after LeCun et al. (1998)."""
    a, b = _scaled(12, width), _scaled(32, width)
    left = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        Standardize(), nn.Conv2d(channels, a, 5, 1, 0), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(a, b, 5, 1, 0), nn.Tanh(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(b * left**2, 64), nn.Tanh(), nn.Linear(64, classes),
    )  # fmt: skip


def _basic(inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    block = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), norm(outputs),
    )  # fmt: skip
    same = stride == 1 and inputs == outputs
    shortcut = None if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
    return nn.Sequential(Residual(block, shortcut), nn.ReLU())


def _resnet(channels: int, classes: int, width: float, norm: Callable[[int], nn.Module]) -> nn.Module:
    a = _scaled(12, width)
    return nn.Sequential(
        Standardize(), nn.Conv2d(channels, a, 3, 2, 1, bias=False), norm(a), nn.ReLU(), _basic(a, a, 1, norm),
        _basic(a, 2 * a, 2, norm), _basic(2 * a, 4 * a, 2, norm), Pool(), nn.Linear(4 * a, classes),
    )  # fmt: skip


def resnet_bn(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    return _resnet(channels, classes, width, nn.BatchNorm2d)


def resnet_gn(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    return _resnet(channels, classes, width, lambda n: nn.GroupNorm(4, n))


def vgg(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Convolutions with batch norm in pairs, max pooling, two fully connected layers with dropout."""
    a = _scaled(12, width)

    def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]

    left = size // 2 // 2 // 2
    return nn.Sequential(
        Standardize(), *conv(channels, a, 2), *conv(a, a), nn.MaxPool2d(2), *conv(a, 2 * a), *conv(2 * a, 2 * a),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * a * left**2, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, classes),
    )  # fmt: skip


class _Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.mix, self.out = heads, nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, size = x.shape
        query, key, value = self.mix(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(n, tokens, size))
        return result


class _Patches(nn.Module):
    """Patches of four pixels a side as tokens ``(N, T, d)``, with learned positions."""

    def __init__(self, channels: int, size: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, features, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // 4) ** 2, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).transpose(1, 2) + self.positions


class _Transposed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block(x.transpose(1, 2)).transpose(1, 2)
        return result


class _TokenMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def _perceptron_block(size: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, size))


def vit(channels: int, size: int, classes: int, width: float) -> nn.Module:
    d = _scaled(40, width, 8)
    blocks = [
        Residual(nn.Sequential(nn.LayerNorm(d), block))
        for _ in range(2)
        for block in (_Attention(d, d // 8), _perceptron_block(d, 2 * d))
    ]
    return nn.Sequential(
        Standardize(), _Patches(channels, size, d), *blocks, nn.LayerNorm(d), _TokenMean(), nn.Linear(d, classes)
    )


def mixer(channels: int, size: int, classes: int, width: float) -> nn.Module:
    d, tokens = _scaled(48, width, 8), (size // 4) ** 2
    blocks = [
        Residual(nn.Sequential(nn.LayerNorm(d), block))
        for _ in range(3)
        for block in (_Transposed(_perceptron_block(tokens, 32)), _perceptron_block(d, 2 * d))
    ]
    return nn.Sequential(
        Standardize(), _Patches(channels, size, d), *blocks, nn.LayerNorm(d), _TokenMean(), nn.Linear(d, classes)
    )


def convnext(channels: int, size: int, classes: int, width: float) -> nn.Module:
    """Large depthwise convolutions, one layer norm and an inverted bottleneck a block (Liu et al., 2022)."""
    a = _scaled(24, width)

    def block(d: int) -> nn.Module:
        return Residual(
            nn.Sequential(
                nn.Conv2d(d, d, 7, 1, 3, groups=d), nn.GroupNorm(1, d), nn.Conv2d(d, 3 * d, 1), nn.GELU(),
                nn.Conv2d(3 * d, d, 1),
            )
        )  # fmt: skip

    return nn.Sequential(
        Standardize(), nn.Conv2d(channels, a, 4, 4), nn.GroupNorm(1, a), block(a), block(a), nn.GroupNorm(1, a),
        nn.Conv2d(a, 2 * a, 2, 2, size // 4 % 2), block(2 * a), Pool(), nn.LayerNorm(2 * a), nn.Linear(2 * a, classes),
    )  # fmt: skip


def densenet(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    layers, filters = dense_layers(channels, width)
    return nn.Sequential(Standardize(), *layers, Pool(), nn.Linear(filters, classes))


class _SqueezeExcite(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(size, size // 4, 1), nn.ReLU(), nn.Conv2d(size // 4, size, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * self.gate(x.mean((2, 3), keepdim=True))
        return result


def mobile(channels: int, size: int, classes: int, width: float) -> nn.Module:  # noqa: ARG001
    """Inverted residuals with depthwise convolutions, SiLU and squeeze-excite (Howard et al., 2019)."""
    a = _scaled(12, width)

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        middle = 3 * inputs
        layers = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.SiLU(),
            nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False), nn.BatchNorm2d(middle), nn.SiLU(),
            _SqueezeExcite(middle), nn.Conv2d(middle, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        return Residual(layers) if stride == 1 and inputs == outputs else layers

    return nn.Sequential(
        Standardize(), nn.Conv2d(channels, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.SiLU(), block(a, 2 * a, 2),
        block(2 * a, 2 * a, 1), block(2 * a, 4 * a, 2), Pool(), nn.Linear(4 * a, classes),
    )  # fmt: skip


FAMILIES: dict[str, Builder] = {
    "perceptron": perceptron,
    "plain": plain,
    "lenet": lenet,
    "resnet_bn": resnet_bn,
    "resnet_gn": resnet_gn,
    "vgg": vgg,
    "vit": vit,
    "convnext": convnext,
    "densenet": densenet,
    "mixer": mixer,
    "mobile": mobile,
}
