"""Networks and images of the GPU check: the shipped demo zoo, and architectures of torchvision with random weights."""

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18, resnet50, vit_b_16

from auditor.data.fashion_mnist import load_demo
from auditor.zoo.demo import DemoZoo
from benchmarks.gpu.runner import Run

Size = tuple[int, int, int]


def demo(name: str, device: str) -> nn.Module:
    zoo = DemoZoo()
    entry = next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")
    return zoo.load(entry).model.eval().requires_grad_(False).to(device)


def demo_images(count: int, device: str) -> tuple[Tensor, Tensor]:
    """The first of the shipped test images, ``(N, 1, 28, 28)`` in [0, 1], and their labels."""
    pixels, labels, _ = load_demo()
    images = torch.from_numpy(pixels[:count].copy()).unsqueeze(1).float() / 255
    return images.to(device), torch.from_numpy(labels[:count]).to(device)


def residual(run: Run) -> tuple[str, nn.Module, Size]:
    """ResNet-50 for ImageNet, untrained; small: ResNet-18 for ten classes."""
    torch.manual_seed(0)
    if run.small:
        return "ResNet-18, K = 10, 32x32", _ready(resnet18(num_classes=10), run), (3, 32, 32)
    return "ResNet-50, K = 1,000, 224x224", _ready(resnet50(), run), (3, 224, 224)


def transformer(run: Run) -> tuple[str, nn.Module, Size]:
    """ViT-B/16 for ImageNet, untrained; small: two layers of width 32."""
    torch.manual_seed(0)
    if run.small:
        sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
        network: nn.Module = VisionTransformer(num_classes=10, **sizes)
        name, size = "ViT, K = 10, 32x32", (3, 32, 32)
    else:
        network, name, size = vit_b_16(), "ViT-B/16, K = 1,000, 224x224", (3, 224, 224)
    nn.init.normal_(network.heads.head.weight, std=0.02)  # torchvision starts it at 0, which makes W 0
    return name, _ready(network, run), size


def cifar_residual(run: Run) -> nn.Module:
    """ResNet-18 as CIFAR papers use it, untrained, with gradients for training."""
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 8 if run.small else 64, 3, 1, 1, bias=False)
    if run.small:
        network = nn.Sequential(network.conv1, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        network.append(nn.Linear(32, 10))
    else:
        network.maxpool = nn.Identity()
    return network.to(run.device)


def _ready(network: nn.Module, run: Run) -> nn.Module:
    return network.eval().requires_grad_(False).to(run.device)
