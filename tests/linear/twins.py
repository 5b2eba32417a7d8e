"""Small networks, each with one kind of operation, and for each a linear twin written by hand from the method.

A twin uses the network's parameters and nothing of auditor. All in float64, all on one image ``(C, H, W)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.zoo.demo.networks import MEAN, STD, PlainConvNet, SmallResNet

Twin = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A network, the size of its input, and its twin under each treatment of batch norm."""

    name: str
    network: nn.Module
    size: tuple[int, int, int]
    remove: Twin
    fold: Twin


def _conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def _bn(x: Tensor, layer: nn.BatchNorm2d, fold: bool) -> Tensor:
    if not fold:
        return x
    scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
    return x * scale[:, None, None] + (layer.bias - layer.running_mean * scale)[:, None, None]


def _perturbed(network: nn.Module) -> nn.Module:
    """Random everything, batch-norm statistics too: what is zero or one at initialisation hides mistakes."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return network.double()


def _small_resnet() -> Case:
    net = _perturbed(SmallResNet())

    def twin(x: Tensor, fold: bool) -> Tensor:
        x = (x[None] - MEAN_DOUBLE) / STD_DOUBLE
        x = _bn(_conv(x, net.stem), net.bn, fold)
        for block in net.stages:
            y = _bn(_conv(x, block.conv1), block.bn1, fold)
            y = _bn(_conv(y, block.conv2), block.bn2, fold)
            if isinstance(block.shortcut, nn.Sequential):
                x = _bn(_conv(x, block.shortcut[0]), block.shortcut[1], fold)
            x = x + y
        return net.head.weight @ x.mean((2, 3))[0] + net.head.bias

    return Case("small_resnet", net, (1, 28, 28), lambda x: twin(x, False), lambda x: twin(x, True))


# The registered buffers are float32 before they are converted.
MEAN_DOUBLE, STD_DOUBLE = torch.tensor(MEAN).double(), torch.tensor(STD).double()


def _plain_convnet() -> Case:
    net = _perturbed(PlainConvNet())

    def twin(x: Tensor) -> Tensor:
        x = (x[None] - MEAN_DOUBLE) / STD_DOUBLE
        for layer in net.features:
            if isinstance(layer, nn.Conv2d):
                x = _conv(x, layer)
            elif isinstance(layer, nn.MaxPool2d):
                n, c, h, w = x.shape
                x = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return net.head.weight @ x.flatten() + net.head.bias

    return Case("plain_convnet", net, (1, 28, 28), twin, twin)


class _PaddedPool(nn.Module):
    """Max pooling with padding and dilation, ceil mode, and timm's explicit -inf padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.holes = nn.MaxPool2d(2, 1, 1, dilation=2)
        self.head = nn.Linear(3 * 3 * 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.holes(self.pool(F.relu(self.conv(x), inplace=True)))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 2, 2, ceil_mode=True)
        return self.head(x[:, :, :3, :3].flatten(1))


def _padded_pool() -> Case:
    net = _perturbed(_PaddedPool())

    def mean_of_windows(x: Tensor, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
        """Sums over shifted copies of the zero-padded image, divided by the kernel's size."""
        x = F.pad(x, (padding,) * 4)
        span = dilation * (kernel - 1) + 1
        rows, columns = (x.shape[2] - span) // stride + 1, (x.shape[3] - span) // stride + 1
        total = torch.zeros(*x.shape[:2], rows, columns, dtype=x.dtype)
        for i in range(0, span, dilation):
            for j in range(0, span, dilation):
                total = total + x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
        return total / kernel**2

    def twin(x: Tensor) -> Tensor:
        x = _conv(x[None], net.conv)
        x = mean_of_windows(x, 3, 2, 1, 1)
        x = mean_of_windows(x, 2, 1, 1, 2)
        x = F.pad(x, (0, 1, 0, 1))
        x = mean_of_windows(x, 2, 2, 0, 1)
        return net.head.weight @ x[:, :, :3, :3].flatten() + net.head.bias

    return Case("padded_pool", net, (2, 12, 12), twin, twin)


class _Gates(nn.Module):
    """Squeeze-and-excite, Swish written out, a gated linear unit, a hard sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.squeeze, self.excite = nn.Linear(6, 2), nn.Linear(2, 6)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * x.sigmoid()
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        x = x * scale[:, :, None, None]
        x = F.glu(x, dim=1)
        return self.head((x * F.hardsigmoid(x)).mean((2, 3)))


def _gates() -> Case:
    net = _perturbed(_Gates())

    def twin(x: Tensor) -> Tensor:
        return net.head.weight @ _conv(x[None], net.conv)[0, :3].mean((1, 2)) + net.head.bias

    return Case("gates", net, (1, 7, 7), twin, twin)


class _Attention(nn.Module):
    """Three ways to write masked attention: by hand, by torch's function, by torch's module."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)
        self.module = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.register_buffer("allowed", torch.ones(4, 4, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x[:, 0]))
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = (q @ k.transpose(-2, -1) / 8**0.5).masked_fill(~self.allowed, -math.inf)
        x = x + self.project(scores.softmax(-1) @ v)
        q, k, v = self.qkv(F.gelu(x)).chunk(3, -1)
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=self.allowed)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.module(x, x, x, attn_mask=~self.allowed, need_weights=False)[0]
        x = x + self.module(x, x, x)[0]
        return self.head(x.mean(1))


def _attention() -> Case:
    net = _perturbed(_Attention())
    causal = torch.ones(4, 4, dtype=torch.float64).tril()
    causal = causal / causal.sum(1, keepdim=True)
    everything = torch.full((4, 4), 0.25, dtype=torch.float64)

    def values(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x @ weight[16:].T + bias[16:]

    def twin(x: Tensor) -> Tensor:
        x = x[0] @ net.embed.weight.T + net.embed.bias
        x = x + causal @ values(x, net.qkv.weight, net.qkv.bias) @ net.project.weight.T + net.project.bias
        x = x + 2 * causal @ values(x, net.qkv.weight, net.qkv.bias)
        for weights in (causal, everything):
            mixed = weights @ values(x, net.module.in_proj_weight, net.module.in_proj_bias)
            x = x + mixed @ net.module.out_proj.weight.T + net.module.out_proj.bias
        return net.head.weight @ x.mean(0) + net.head.bias

    return Case("attention", net, (1, 4, 5), twin, twin)


class _StandardizedConv(nn.Conv2d):
    """Weight standardization as timm writes it: batch norm called on the weights."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0, eps=1e-6
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class _Standardized(nn.Module):
    """Weight standardization, group norm, and a clamp as an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = _StandardizedConv(2, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_max_pool2d(self.norm(self.conv(x)).clamp(min=0, max=6), 1).flatten(1))


def _standardized() -> Case:
    net = _perturbed(_Standardized())

    def twin(x: Tensor) -> Tensor:
        flat = net.conv.weight.reshape(4, -1)
        mean, variance = flat.mean(1, keepdim=True), flat.var(1, correction=0, keepdim=True)
        weight = ((flat - mean) / torch.sqrt(variance + 1e-6)).reshape_as(net.conv.weight)
        return net.head.weight @ F.conv2d(x[None], weight, net.conv.bias)[0].mean((1, 2)) + net.head.bias

    return Case("weight_standardization", net, (2, 6, 6), twin, twin)


class _Branches(nn.Module):
    """Concatenation, a residual sum, in-place activations, drop-out, resampling, log-softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 3, 1)
        self.act, self.drop = nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.5)
        self.bn = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5  # in place on its input, as some preprocessing is
        y = self.bn(torch.cat([self.act(self.left(x)), torch.tanh(self.right(x))], 1))
        y = y + F.interpolate(F.avg_pool2d(y, 2), scale_factor=2)
        return F.log_softmax(self.head(self.drop(F.silu(y)).mean((2, 3))), 1)


def _branches() -> Case:
    net = _perturbed(_Branches())

    def twin(x: Tensor, fold: bool) -> Tensor:
        x = x[None] - 0.5
        y = _bn(torch.cat([_conv(x, net.left), _conv(x, net.right)], 1), net.bn, fold)
        y = y + F.avg_pool2d(y, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return net.head.weight @ y.mean((2, 3))[0] + net.head.bias

    return Case("branches", net, (1, 6, 6), lambda x: twin(x, False), lambda x: twin(x, True))


CASES = (
    _small_resnet(), _plain_convnet(), _padded_pool(), _gates(), _attention(), _standardized(), _branches(),
)  # fmt: skip
