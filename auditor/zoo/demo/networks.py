"""The demo zoo's networks: small enough to ship and to audit in seconds on a CPU."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and standard deviation of Fashion-MNIST's training pixels, in [0, 1].
MEAN, STD = 0.2860, 0.3530


class Normalize(nn.Module):
    """``(x - mean) / std`` as the first layer, so that attacks work on [0, 1] pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = MEAN, std: float = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class ResidualBlock(nn.Module):
    """Basic residual block (He et al., 2016): two 3x3 convolutions with batch norm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Three-stage residual network, ``(N, 1, 28, 28)`` in [0, 1] to ``(N, 10)`` logits, 77,754 parameters.

    The stem halves the resolution: four times cheaper to attack, at a cost of about one point of accuracy.
    """

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.stem = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(self.normalize(x))))
        logits: Tensor = self.head(self.stages(x).mean(dim=(2, 3)))
        return logits


class PlainConvNet(nn.Module):
    """Convolutions, max pooling, no batch norm: ``(N, 1, 28, 28)`` in [0, 1] to ``(N, 10)``, 73,482 parameters."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 64, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 96, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(96 * 9, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(self.normalize(x)).flatten(1))
        return logits


class CertifiableConvNet(nn.Module):
    """Two strided convolutions and two fully connected layers: ``(N, 1, 28, 28)`` in [0, 1] to ``(N, 10)``.

    59,034 parameters. Few layers and no pooling, because interval bounds grow with each layer.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 49, 32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.normalize(x)))
        return logits


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "small_resnet": SmallResNet,
    "plain_convnet": PlainConvNet,
    "certifiable_convnet": CertifiableConvNet,
}
