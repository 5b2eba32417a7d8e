"""Bounds against closed forms, an independent loop, searches for counterexamples, and the table of operations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import frozen, input_gradient, margin
from auditor.attacks.norms import NORMS
from auditor.certify import certify_bounds
from auditor.certify.balls import Ball
from auditor.certify.bounds import Bounds, interval_bounds, margin_bounds
from auditor.certify.operations import TABLE
from auditor.certify.program import trace
from auditor.errors import BoundsError, InputError
from auditor.records.certificates import INTERVALS, LINES, NEITHER


def bounds_of(model: nn.Module, image: Tensor, eps: float, norm: str = "Linf", neurons: int = 10_000) -> Bounds:
    model.eval()
    with frozen(model), torch.no_grad():
        return interval_bounds(trace(model, image), Ball.around(image, norm, eps), neurons)


def lowest_margin(model: nn.Module, image: Tensor, label: int, eps: float, norm: str = "Linf") -> tuple[float, float]:
    """The smallest margin that intervals prove, and that lines prove."""
    bounds = bounds_of(model, image, eps, norm)
    plain = bounds_of(model, image, eps, norm, neurons=0)
    return (
        margin_bounds(plain, label, intervals=True).min().item(),
        margin_bounds(bounds, label, intervals=False).min().item(),
    )


def found_margin(model: nn.Module, image: Tensor, label: int, eps: float, norm: str = "Linf", seed: int = 0) -> float:
    """The smallest margin at random points of the ball and along gradients."""
    torch.manual_seed(seed)
    ball, labels = NORMS[norm], torch.full((32,), label)
    images = image.expand(32, *image.shape[1:])
    points = ball.project(images + ball.cube_start(images, eps) * 2, images, eps)
    lowest = math.inf
    with frozen(model):
        for step in range(30):
            gradient, logits = input_gradient(model, points, margin(labels))
            lowest = min(lowest, -margin(labels)(logits).max().item())
            points = ball.project(points + eps * 0.9**step * ball.normalize(gradient), images, eps)
    return lowest


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_a_linear_model_has_its_closed_form(norm: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    image, eps = torch.rand(1, 3, 2, 2) * 0.4 + 0.3, 0.05  # the ball does not leave [0, 1]
    weight, logits = model[1].weight.double(), model(image)[0].double()
    for intervals in (True, False):
        found = margin_bounds(bounds_of(model, image, eps, norm), 0, intervals=intervals)
        for k, j in enumerate((1, 2)):
            difference = weight[0] - weight[j]
            dual = difference.abs().sum() if norm == "Linf" else difference.norm()
            exact = (logits[0] - logits[j] - eps * dual).item()
            assert exact - 1e-4 < found[k].item() < exact


def test_the_box_cuts_the_ball() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    image = torch.tensor([[[[0.1, 0.0]]]])
    for norm in ("Linf", "L2"):
        found = margin_bounds(bounds_of(model, image, 0.5, norm), 0, intervals=False)
        assert found.item() == pytest.approx(0, abs=1e-5)  # not 0.1 - 0.5


def interval_loop(weights: list[tuple[np.ndarray, np.ndarray]], low: np.ndarray, high: np.ndarray, label: int) -> float:
    """Interval arithmetic of a fully connected ReLU network, number by number."""
    for place, (weight, bias) in enumerate(weights):
        last = place == len(weights) - 1
        if last:
            weight, bias = weight[label] - weight, bias[label] - bias
        lows, highs = [], []
        for row, offset in zip(weight, bias, strict=True):
            lows.append(offset + sum(w * (a if w > 0 else b) for w, a, b in zip(row, low, high, strict=True)))
            highs.append(offset + sum(w * (b if w > 0 else a) for w, a, b in zip(row, low, high, strict=True)))
        low, high = np.array(lows), np.array(highs)
        if not last:
            low, high = np.maximum(low, 0), np.maximum(high, 0)
    return float(np.delete(low, label).min())


def test_intervals_agree_with_an_independent_loop() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 4))
    image = torch.rand(1, 1, 3, 3)
    weights = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in model
        if isinstance(layer, nn.Linear)
    ]
    ball = Ball.around(image, "Linf", 0.05)
    expected = interval_loop(weights, ball.low.flatten().numpy(), ball.high.flatten().numpy(), 2)
    found, lines = lowest_margin(model, image, 2, 0.05)
    assert expected - 1e-4 < found <= expected
    assert lines > found


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.bn(self.conv1(x)))) + x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.2), "relu6": nn.ReLU6, "hardtanh": nn.Hardtanh,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "elu": nn.ELU, "softplus": nn.Softplus,
}  # fmt: skip
POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool2d(2), "overlapping": lambda: nn.MaxPool2d(3, 2, 1), "mean": lambda: nn.AvgPool2d(2),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(2), "none": nn.Identity, "residual": lambda: Residual(4),
}  # fmt: skip


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    pool=st.sampled_from(sorted(POOLS)),
    norm=st.sampled_from(["Linf", "L2"]),
    eps=st.sampled_from([0.003, 0.02, 0.1, 0.5]),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.5, 2.0, 5.0]),
)
def test_no_search_goes_below_the_bounds(
    activation: str, pool: str, norm: str, eps: float, seed: int, scale: float
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, 1, 1), ACTIVATIONS[activation](), POOLS[pool](), nn.Flatten(), nn.Dropout(),
        nn.LazyLinear(6), ACTIVATIONS[activation](), nn.Linear(6, 3),
    ).eval()  # fmt: skip
    image = torch.rand(1, 1, 6, 6)
    model(image)
    for parameter in model.parameters():
        parameter.data *= scale
    label = int(model(image).argmax())
    intervals, lines = lowest_margin(model, image, label, eps, norm)
    found = found_margin(model, image, label, eps, norm, seed)
    assert intervals <= found
    assert lines <= found
    if eps == 0.003 and activation in ("relu", "leaky") and norm == "Linf":
        assert lines >= intervals - 1e-6


@pytest.mark.long
def test_small_balls_give_tight_bounds() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)
    )
    image = torch.rand(1, 1, 6, 6)
    label = int(model(image).argmax())
    clean = -margin(torch.tensor([label]))(model(image)).item()
    for eps in (1e-3, 1e-5):
        intervals, lines = lowest_margin(model, image, label, eps)
        assert clean - 100 * eps - 1e-3 < intervals < clean
        assert clean - 100 * eps - 1e-3 < lines < clean


@pytest.mark.long
def test_rounding_of_float32_is_inside_the_bounds() -> None:
    """Large sums that cancel: float32 is off by far more than float64, and the interval of one point contains it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4096, 64), nn.ReLU(), nn.Linear(64, 2))
    model[1].weight.data *= 1e4
    model[1].bias.data = -model[1].weight.data.sum(1) / 2
    wide = nn.Sequential(*(type(layer)(*_sizes(layer)) for layer in model)).double()
    wide.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    errors = []
    for seed in range(20):
        image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
        low, high = bounds_of(model, image, 1e-9, neurons=0).output
        computed, exact = model(image).double(), wide(image.double())
        errors.append((computed - exact).abs().max().item())
        assert ((low <= computed) & (computed <= high)).all()
        assert ((low <= exact) & (exact <= high)).all()
    assert max(errors) > 1e-4  # so the test says something


def _sizes(layer: nn.Module) -> tuple[int, ...]:
    return (layer.in_features, layer.out_features) if isinstance(layer, nn.Linear) else ()


class Function(nn.Module):
    """A network around one operation."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.head = function, nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(x).flatten(1))


WEIGHT = torch.randn(5, 6, generator=torch.Generator().manual_seed(5))
LINE = torch.randn(3, 12, 3, generator=torch.Generator().manual_seed(7))
CUBE = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(8))
KERNEL = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(6))
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv1d": lambda x: F.conv1d(x.flatten(1, 2), LINE, stride=2),
    "conv2d": lambda x: F.conv2d(x, KERNEL, None, 2, 1),
    "conv2d, same": lambda x: F.conv2d(x, KERNEL, padding="same"),
    "conv2d, groups": lambda x: F.conv2d(x, KERNEL[:, :1], groups=2),
    "conv3d": lambda x: F.conv3d(x.unsqueeze(1), CUBE),
    "linear": lambda x: F.linear(x, WEIGHT),
    "matmul": lambda x: x @ WEIGHT.T,
    "batch_norm": lambda x: F.batch_norm(
        x, torch.tensor([0.3, 0.6]), torch.tensor([0.1, 2.0]), torch.tensor([-1.0, 2])
    ),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool2d, not the padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "mean": lambda x: x.mean((2, 3)),
    "mean of all": lambda x: x.mean().view(1, 1),
    "sum": lambda x: x.sum(-1, keepdim=True),
    "add": lambda x: x + x.flip(3),
    "add, itself": lambda x: x + x,
    "add, scaled": lambda x: torch.add(x, x.flip(3), alpha=-2),
    "sub": lambda x: x - x.flip(2),
    "sub, itself": lambda x: x - x,
    "from a constant": lambda x: 1 - x,
    "mul, negative": lambda x: x * -2.5,
    "mul, tensor": lambda x: x * KERNEL[0, 0, 0, 0],
    "div, negative": lambda x: x / -0.5,
    "div, tensor": lambda x: x / KERNEL[0, 0, 0, 0],
    "neg": lambda x: -x,
    "cat": lambda x: torch.cat([x, -x, x.relu()], 1),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.7),
    "views": lambda x: x.permute(0, 2, 3, 1).reshape(1, 6, 12).transpose(1, 2).unsqueeze(1).squeeze(1)[:, 1:9, 2],
    "expand": lambda x: x[:, :1].expand(1, 3, 6, 6),
    "clamp": lambda x: (4 * x - 2).clamp(-0.5, 1.5),
    "clamp_min": lambda x: (4 * x - 2).clamp_min(0.25),
    "in place": lambda x: (4 * x - 2).relu_().add_(x),
    "leaky_relu": lambda x: F.leaky_relu(4 * x - 2, 0.3),
    "elu": lambda x: F.elu(4 * x - 2, 1.7),
    "softplus": lambda x: F.softplus(4 * x - 2, 3),
    "sigmoid": lambda x: torch.sigmoid(8 * x - 4),
    "tanh": lambda x: torch.tanh(8 * x - 4),
    "max_pool2d": lambda x: F.max_pool2d(8 * x - 4, 3, 2, 1),
    "max_pool2d, dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
    "max_pool2d, ceil": lambda x: F.max_pool2d(x, 4, 4, ceil_mode=True),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
}


@pytest.mark.long
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_stays_within_its_bounds(name: str) -> None:
    torch.manual_seed(0)
    model = Function(OPERATIONS[name]).eval()
    image, eps = torch.rand(1, 2, 6, 6), 0.2
    model(image)
    bounds = bounds_of(model, image, eps)
    low, high = bounds.output
    points = (image + eps * (2 * torch.rand(500, 2, 6, 6) - 1)).clamp(0, 1)
    corners = (image + eps * (2 * torch.rand(500, 2, 6, 6) - 1).sign()).clamp(0, 1)
    logits = torch.cat([model(one) for one in torch.cat([points, corners]).split(1)]).double()
    assert (logits >= low).all()
    assert (logits <= high).all()
    for label in range(3):
        others = [j for j in range(3) if j != label]
        margins = logits[:, [label]] - logits[:, others]
        for intervals in (True, False):
            assert (margins >= margin_bounds(bounds, label, intervals=intervals)).all()


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "gelu": (F.gelu, "operation gelu"),
    "silu": (F.silu, "operation silu"),
    "softmax": (lambda x: x.softmax(-1), "softmax"),
    "layer_norm": (lambda x: F.layer_norm(x, (6,)), "layer_norm"),
    "product": (lambda x: x * x.flip(3), "mul of several values"),
    "square": (lambda x: x * x, "mul"),
    "quotient": (lambda x: 1 / (x + 1), "div|reciprocal"),
    "batch statistics": (lambda x: F.batch_norm(x, None, None, training=True), "batch_norm"),
    "noise": (lambda x: x + torch.rand_like(x), "rand"),
    "weights computed": (lambda x: F.linear(x, WEIGHT / WEIGHT.norm()), "constant or a weight with"),
    "half": (lambda x: x.half().float(), "_assert_tensor_metadata|_to_copy"),
    "negative leak": (lambda x: F.leaky_relu(x, -0.5), "leaky_relu"),
    "choice": (lambda x: x if x.sum() > 0 else -x, "traced"),
    "rounding": (torch.round, "operation round"),
    "matrix product of two": (lambda x: x @ x.transpose(2, 3), "matmul of several values"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_in_the_table_is_refused_by_name(name: str) -> None:
    function, message = REFUSED[name]
    model = Function(function).eval()
    image = torch.rand(1, 2, 6, 6)
    model(image)
    with pytest.raises(BoundsError, match=message):
        certify_bounds(model, image, torch.tensor([0]), norm="Linf", eps=0.1)


def test_certified_samples_by_method() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.eye(2)
    images = torch.tensor([[[[0.9, 0.1]]], [[[0.55, 0.5]]], [[[0.2, 0.9]]]])
    found = certify_bounds(model, images, torch.tensor([0, 0, 0]), norm="Linf", eps=0.1)
    assert found.tolist() == [INTERVALS, NEITHER, NEITHER]  # the third is misclassified
    cancelling = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    cancelling[1].weight.data, cancelling[1].bias.data = torch.ones(2, 2), torch.tensor([0.0, 0.3])
    cancelling[3].weight.data, cancelling[3].bias.data = torch.tensor([[-1.0, 1.0], [0.0, 0.0]]), torch.zeros(2)
    found = certify_bounds(cancelling, images[:1], torch.tensor([0]), norm="Linf", eps=0.3)
    assert found.tolist() == [LINES]  # the margin is 0.3 everywhere, which intervals cannot see


def test_the_model_keeps_its_mode_and_an_unknown_norm_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).train()
    images = torch.rand(2, 1, 1, 2)
    certify_bounds(model, images, torch.tensor([0, 1]), norm="L2", eps=0.1)
    assert model.training
    with pytest.raises(InputError, match="norm with bounds"):
        certify_bounds(model, images, torch.tensor([0, 1]), norm="L0", eps=1)


def test_the_table_names_real_operations() -> None:
    assert all(isinstance(operation, torch._ops.OpOverload) for operation in TABLE)
