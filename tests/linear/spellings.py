"""One function in many spellings: activations, gates, heads, normalizations and pooling, written out by hand."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = math.sqrt(2 / math.pi)
Function = Callable[[Tensor], Tensor]
Head = Callable[[Tensor, Tensor], Tensor]
Gated = Callable[[Tensor, Tensor], Tensor]

ACTIVATIONS: dict[str, Function] = {
    "gelu": F.gelu,
    "gelu tanh": lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3)))),
    "gelu tanh **": lambda x: x * (0.5 * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3)))),
    "gelu tanh x*x*x": lambda x: 0.5 * x * (torch.tanh(ROOT * (x + 0.044715 * x * x * x)) + 1),
    "gelu tanh methods": lambda x: x.mul(0.5).mul(torch.tanh(x.mul(ROOT).mul(1 + 0.044715 * x.pow(2))).add(1)),
    "gelu tanh by exp": lambda x: x * (1 - 1 / (1 + torch.exp(2 * ROOT * (x + 0.044715 * x**3)))),
    "gelu erf": lambda x: x * (torch.erf(x / math.sqrt(2)) + 1) / 2,
    "gelu erfc": lambda x: 0.5 * x * torch.erfc(-x / math.sqrt(2)),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "hard swish by clamp": lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
    "hard swish in place": lambda x: x / 6 * F.relu6(x + 3, inplace=True),
    "leaky relu by max": lambda x: torch.maximum(x, 0.1 * x),
    "leaky relu by min": lambda x: -torch.min(-x, -0.1 * x),
    "leaky relu by where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "leaky relu by relus": lambda x: F.relu(x) - 0.1 * F.relu(-x),
    "leaky relu by masks": lambda x: (x > 0).to(x.dtype) * x + 0.1 * (x <= 0).to(x.dtype) * x,
    "leaky relu by abs": lambda x: 0.55 * x + 0.45 * x.abs(),
    "relu by abs": lambda x: (x + x.abs()) / 2,
    "relu by mask": lambda x: x * (x > 0),
    "relu by sign": lambda x: x * (torch.sign(x) + 1) / 2,
    "relu by root": lambda x: (x + torch.sqrt(x * x)) / 2,
    "relu, smooth root": lambda x: (x + torch.sqrt(x * x + 1e-3)) / 2,
    "squareplus": lambda x: 0.5 * (x + (x**2 + 4).sqrt()),
    "squareplus by hypot": lambda x: 0.5 * (x + torch.hypot(x, torch.tensor(2.0, dtype=x.dtype))),
    "relu by heaviside": lambda x: x * torch.heaviside(x, x.new_zeros(1)),
    "elu by where": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "elu by relus": lambda x: F.relu(x) - F.relu(1 - torch.exp(x)),
    "softplus": lambda x: torch.log(1 + torch.exp(x)),
    "softplus log1p": lambda x: torch.log1p(x.exp()),
    "softplus stable": lambda x: F.relu(x) + torch.log1p(torch.exp(-x.abs())),
    "softplus steep": lambda x: torch.log(1 + torch.exp(2 * x)) / 2,
    "softplus by sigmoid": lambda x: -torch.log(torch.sigmoid(-x)),
    "log sigmoid": lambda x: torch.log(torch.sigmoid(x)),
    "mish": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    "silu": lambda x: x.sigmoid() * x,
    "silu by division": lambda x: x / (1 + torch.exp(-x)),
    "silu by reciprocal": lambda x: x * torch.reciprocal(1 + (-x).exp()),
    "silu by tanh": lambda x: x * (torch.tanh(x / 2) / 2 + 0.5),
    "prelu": lambda x: torch.clamp(x, min=0) + torch.full((6, 1, 1), 0.2, dtype=x.dtype) * torch.clamp(x, max=0),
    "tanh shrink": lambda x: x - torch.tanh(x),
    "soft shrink": lambda x: torch.sign(x) * F.relu(x.abs() - 0.5),
    "sigmoid between layers": torch.sigmoid,
    "rounded": lambda x: x + (torch.round(10 * x) / 10 - x).detach(),
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(lambda y: y * y.sigmoid(), x, use_reentrant=False),
    "plain data": lambda x: x.data.clamp(min=0),
}
"""Each becomes the identity."""

SLOPES: dict[str, tuple[Function, float]] = {
    "bent identity": (lambda x: (torch.sqrt(x * x + 1) - 1) / 2 + x, 1.5),
    "rational": (lambda x: (0.1 + x + 2 * x**2 + 3 * x**3) / (1 + (4 * x**2).abs()), 0.75),
    "logish": (lambda x: x * torch.log(1 + torch.sigmoid(x)), math.log(2)),
}
"""Each becomes the tensor times its slope far out on the steeper side."""

GATES: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "sigmoid in place": lambda g: g.sigmoid_(),
    "tanh": lambda g: (1 + torch.tanh(g)) * 0.5,
    "exp": lambda g: 1 / (1 + torch.exp(-g)),
    "exp over": lambda g: g.exp() / (1 + g.exp()),
    "relu6": lambda g: F.relu6(g + 3) / 6,
    "relu6 in place": lambda g: F.relu6(g + 3.0, inplace=True).div_(6.0),
    "clamp": lambda g: torch.clamp(g / 6 + 0.5, 0, 1),
    "relus": lambda g: (F.relu(g + 3) - F.relu(g - 3)) / 6,
    "squeezed": lambda g: (0.5 + 0.5 * torch.tanh(g.mean((2, 3), keepdim=True))).expand_as(g),
}
"""Each becomes 1."""

WIDE_GATES: dict[str, Function] = {
    "relu6, viewed": lambda g: (F.relu6(g.mean((2, 3)) + 3) / 2).view(-1, 6, 1, 1),
    "relu6, expanded": lambda g: (F.relu6(g.mean((2, 3)) + 3) / 2)[:, :, None, None].expand_as(g),
    "tanh, indexed": lambda g: (1.5 + 1.5 * torch.tanh(g.mean((2, 3))))[..., None, None],
    "sigmoid": lambda g: 3 * torch.sigmoid(g),
}
"""Each becomes 3."""

GATED: dict[str, Gated] = {
    "gelu": lambda a, b: a * F.gelu(b),
    "gelu by hand": lambda a, b: a * (0.5 * b * (1 + torch.erf(b / math.sqrt(2)))),
    "gelu tanh by hand": lambda a, b: a * (0.5 * b * (1 + torch.tanh(ROOT * (b + 0.044715 * b**3)))),
    "silu": lambda a, b: a * (b * torch.sigmoid(b)),
    "silu first": lambda a, b: b * torch.sigmoid(b) * a,
    "silu by division": lambda a, b: a * (b / (1 + torch.exp(-b))),
    "hard swish": lambda a, b: a * (b * F.relu6(b + 3) / 6),
    "einsum": lambda a, b: torch.einsum("nchw,nchw->nchw", F.silu(b), a),
}
"""Each becomes ``a``, the factor without the activation."""

DISTANCES: dict[str, Head] = {
    "expanded": lambda f, w: 2 * f @ w.T - (f**2).sum(1, keepdim=True) - (w**2).sum(1),
    "expanded, pow": lambda f, w: -(f.pow(2).sum(1, keepdim=True) - 2 * f @ w.T + w.pow(2).sum(1)),
    "expanded, product": lambda f, w: 2 * F.linear(f, w) - (f * f).sum(1)[:, None],
    "expanded, norm": lambda f, w: -(f.norm(dim=1, keepdim=True) ** 2 + w.norm(dim=1) ** 2 - 2 * F.linear(f, w)),
    "expanded, einsum": lambda f, w: 2 * f @ w.T - torch.einsum("nd,nd->n", f, f)[:, None],
    "expanded, addmm": lambda f, w: -torch.addmm(f.square().sum(1, True) + w.square().sum(1), f, w.T, alpha=-2),
    "square": lambda f, w: -((f[:, None] - w) ** 2).sum(-1),
    "reversed": lambda f, w: -(w[None] - f[:, None]).square().sum(-1),
    "repeated": lambda f, w: -(f[:, None].repeat(1, len(w), 1) - w[None]).pow(2).sum(-1),
    "product": lambda f, w: -torch.mul(f[:, None] - w, f[:, None] - w).sum(-1),
    "sum with the negative": lambda f, w: -(f[:, None] + (-w)).pow(2).sum(-1),
    "class by class": lambda f, w: -torch.stack([((f - row) ** 2).sum(1) for row in w], 1),
    "in units": lambda f, w: -4 * ((f[:, None] - w) / 2).pow(2).sum(-1),
    "cdist": lambda f, w: -(torch.cdist(f, w) ** 2),
    "cdist without a square": lambda f, w: -torch.cdist(f, w),
    "norm": lambda f, w: -(torch.norm(f[:, None] - w, dim=-1) ** 2),
    "linalg": lambda f, w: -torch.linalg.vector_norm(f[:, None] - w, dim=-1),
    "pairwise": lambda f, w: -(F.pairwise_distance(f[:, None], w[None]) ** 2),
    "root": lambda f, w: -torch.sqrt(((f[:, None] - w) ** 2).sum(-1) + 1e-6),
    "log softmax": lambda f, w: F.log_softmax(-(torch.cdist(f, w) ** 2), 1),
}
"""Each becomes ``2 f·w``."""

COSINES: dict[str, Head] = {
    "normalize": lambda f, w: F.linear(F.normalize(f), F.normalize(w)),
    "cosine_similarity": lambda f, w: F.cosine_similarity(f[:, None], w[None], dim=-1),
    "reversed": lambda f, w: F.cosine_similarity(w[None], f[:, None], dim=2),
    "einsum": lambda f, w: torch.einsum("nd,kd->nk", F.normalize(f, dim=1), F.normalize(w, dim=1)),
    "rsqrt": lambda f, w: (f * torch.rsqrt((f * f).sum(1, keepdim=True))) @ F.normalize(w).T,
    "root": lambda f, w: (f / torch.sqrt((f**2).sum(1, keepdim=True))) @ F.normalize(w).T,
    "afterwards": lambda f, w: (f @ w.T) / (f.norm(dim=1, keepdim=True) * w.norm(dim=1)),
    "module": lambda f, w: nn.CosineSimilarity(dim=2)(f[:, None], w[None]),
}
"""Each becomes ``f·w / |w|``."""

POOLINGS: dict[str, Function] = {
    "mean": lambda y: y.mean((2, 3)),
    "gem": lambda y: F.adaptive_avg_pool2d(y.clamp(min=1e-6).pow(3), 1).pow(1 / 3).flatten(1),
    "gem, learned": lambda y: y.clamp(min=1e-6).pow(torch.tensor(2.5)).mean((2, 3)).pow(1 / torch.tensor(2.5)),
    "gem, fourth": lambda y: torch.mean(y.clamp_min(1e-6) ** 4, dim=(-1, -2)) ** 0.25,
    "root mean square": lambda y: y.pow(2).mean((2, 3)).sqrt(),
    "convolution": lambda y: F.conv2d(y, torch.full((6, 1, 4, 4), 1 / 16, dtype=y.dtype), groups=6).flatten(1),
    "amax": lambda y: y.amax((2, 3)),
    "unfold": lambda y: F.unfold(y, 4).view(-1, 6, 16).max(-1)[0],
    "soft": lambda y: (y.flatten(2) * y.flatten(2).softmax(-1)).sum(-1),
    "fourier": lambda y: torch.fft.fft2(y).real[:, :, 0, 0] / 16,
}
"""Each becomes the mean."""

NORMS: dict[str, Function] = {
    "layer norm": lambda x: (x - x.mean(1, True)) / torch.sqrt((x - x.mean(1, True)).pow(2).mean(1, True) + 1e-6),
    "variance": lambda x: (x - x.mean(1, True)) * torch.rsqrt(x.var(1, unbiased=False, keepdim=True) + 1e-6),
    "deviation": lambda x: (x - x.mean(1, True)) / (x.std(1, keepdim=True) + 1e-6),
    "power": lambda x: (x - x.mean(1, True)) * (x.var(1, keepdim=True) + 1e-6).pow(-0.5),
}
"""Each becomes ``x - mean``."""
