"""One function, one W, however it is spelled; or an error that names the operation."""

import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from auditor.linear import LinearizationError, implicit_weight
from tests.linear.spellings import (
    ACTIVATIONS,
    COSINES,
    DISTANCES,
    GATED,
    GATES,
    NORMS,
    POOLINGS,
    SLOPES,
    WIDE_GATES,
    Function,
    Head,
)

SIZE = (2, 8, 8)


class Network(nn.Module):
    """A convolution, a residual block around ``inner``, a pooling, and a head over prototypes."""

    def __init__(self, inner: object, pool: Function = POOLINGS["mean"], head: Head = F.linear) -> None:
        super().__init__()
        self.inner, self.pool, self.head = inner, pool, head
        torch.manual_seed(4)
        self.conv, self.mix, self.gate = nn.Conv2d(2, 6, 2, 2), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.score = nn.Conv2d(6, 1, 1)
        self.prototypes = nn.Parameter(torch.randn(5, 6))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head(self.pool(self.inner(self, y)), self.prototypes)


def weight(inner: object, *rest: object) -> Tensor:
    return implicit_weight(Network(inner, *rest), SIZE)


PLACES = {
    "alone": lambda act: lambda m, y: m.mix(act(y)),
    "residual": lambda act: lambda m, y: y + m.mix(act(y)),
    "twice": lambda act: lambda m, y: m.mix(act(m.mix(act(m.gate(y))))),
    "beside": lambda act: lambda m, y: F.conv2d(torch.cat([m.mix(act(y)), y], 1), torch.ones(6, 12, 1, 1).to(y)),
    "of a part": lambda act: lambda m, y: m.mix(act(m.gate(y) + y)),
}


def identity(x: Tensor) -> Tensor:
    return x


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_become_the_identity(name: str) -> None:
    close(weight(PLACES["residual"](ACTIVATIONS[name])), weight(PLACES["residual"](identity)))


@pytest.mark.parametrize("name", GATES)
def test_gates_become_one(name: str) -> None:
    close(weight(lambda m, y: y + m.mix(y * GATES[name](m.gate(y)))), weight(PLACES["residual"](identity)))


@pytest.mark.parametrize("name", SLOPES)
def test_activations_of_other_slopes_become_a_multiple(name: str) -> None:
    act, slope = SLOPES[name]
    found, expected = (weight(PLACES["residual"](one)) for one in (act, lambda x: slope * x))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WIDE_GATES)
def test_gates_open_to_their_limit_in_any_shape(name: str) -> None:
    close(weight(lambda m, y: y * WIDE_GATES[name](m.gate(y))), weight(lambda _, y: 3 * y))


@pytest.mark.parametrize("name", GATED)
def test_of_a_gated_unit_the_factor_without_the_activation_stays(name: str) -> None:
    close(weight(lambda m, y: GATED[name](m.mix(y), m.gate(y))), weight(lambda m, y: m.mix(y)))


LARGEST: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "chain": lambda a, b, c: torch.maximum(torch.maximum(a, b), c),
    "chain from the right": lambda a, b, c: torch.max(a, torch.fmax(b, c)),
    "reduce": lambda *parts: functools.reduce(torch.minimum, parts),
    "stack": lambda *parts: torch.stack(parts).amax(0),
    "stack, max": lambda *parts: torch.stack(parts, 1).max(dim=1)[0],
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_of_three_is_their_mean_in_any_order(name: str) -> None:
    found = weight(lambda m, y: LARGEST[name](y, m.mix(y), m.gate(y)))
    close(found, weight(lambda m, y: (y + m.mix(y) + m.gate(y)) / 3))


CONSTANTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "to": lambda p, y: y + p.float().to(y),
    "type_as": lambda p, y: y + p.float().type_as(y),
    "concatenated": lambda p, y: torch.cat([p.expand_as(y).type_as(y), y], 1)[:, 6:],
    "index": lambda _, y: y.gather(1, torch.arange(6)[None, :, None, None].expand_as(y)),
    "scatter": lambda _, y: torch.zeros_like(y).scatter(1, torch.arange(6).view(1, 6, 1, 1).expand_as(y), y),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_in_the_shape_or_dtype_of_the_input_stay_constants(name: str) -> None:
    position = torch.linspace(-1, 1, 96, dtype=torch.float64).view(1, 6, 4, 4)
    close(weight(lambda _, y: CONSTANTS[name](position, y)), weight(lambda _, y: y))


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_become_twice_the_product(name: str) -> None:
    plain = PLACES["residual"](identity)
    found = weight(plain, POOLINGS["mean"], DISTANCES[name])
    close(found, weight(plain, POOLINGS["mean"], lambda f, w: 2 * F.linear(f, w)))


@pytest.mark.parametrize("name", COSINES)
def test_cosines_become_products_with_unit_prototypes(name: str) -> None:
    plain = PLACES["residual"](identity)
    found = weight(plain, POOLINGS["mean"], COSINES[name])
    close(found, weight(plain, POOLINGS["mean"], lambda f, w: F.linear(f, F.normalize(w))))


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_become_the_mean(name: str) -> None:
    plain = PLACES["residual"](identity)
    close(weight(plain, POOLINGS[name]), weight(plain))


@pytest.mark.parametrize("name", NORMS)
def test_norms_become_what_is_left_of_the_mean(name: str) -> None:
    found, expected = (weight(PLACES["residual"](norm)) for norm in (NORMS[name], lambda x: x - x.mean(1, True)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # 1 + eps, where the variance is 1


@pytest.mark.long
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    act=st.sampled_from(sorted(ACTIVATIONS)),
    place=st.sampled_from(sorted(PLACES)),
    gate=st.sampled_from(sorted(GATES)),
    pool=st.sampled_from(sorted(POOLINGS)),
    head=st.sampled_from([(kind, name) for kind, table in (("d", DISTANCES), ("c", COSINES)) for name in table]),
)
def test_a_network_of_any_spellings_has_the_w_of_the_plain_one(
    act: str, place: str, gate: str, pool: str, head: tuple[str, str]
) -> None:
    heads, plain = (
        (DISTANCES, lambda f, w: 2 * F.linear(f, w))
        if head[0] == "d"
        else (COSINES, lambda f, w: F.linear(f, F.normalize(w)))
    )

    def inner(activation: Function, opened: Function) -> object:
        return lambda m, y: PLACES[place](activation)(m, m.mix(y * opened(m.gate(y))) + y)

    expected = weight(inner(identity, lambda g: torch.ones_like(g.detach())), POOLINGS["mean"], plain)
    try:
        found = weight(inner(ACTIVATIONS[act], GATES[gate]), POOLINGS[pool], heads[head[1]])
    except LinearizationError as error:
        pytest.fail(f"{act}, {gate}, {place}, {pool}, {head}: {error}")
    close(found, expected)


class _Staircase(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        return torch.sign(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return -gradient


def _by_index(index: object) -> object:
    def inner(m: Network, y: Tensor) -> Tensor:
        return index(y.flatten(2), m.score(y).flatten(2))[..., None]

    return inner


REFUSED: dict[str, tuple[object, str]] = {
    "if": (lambda _, y: y if y.mean() > 0 else 2 * y, "bool"),
    "item": (lambda _, y: y * y.mean().item(), "item"),
    "float": (lambda _, y: y * float(y.max()), "float"),
    "index": (lambda _, y: y * [1, 2][(y.mean() > 0).long()], "index"),
    "tolist": (lambda _, y: y * sum(y.mean((1, 2, 3)).tolist()), "tolist"),
    "numpy": (lambda _, y: y * float(y.detach().numpy().mean()), "numpy"),
    "cond": (lambda _, y: torch.cond(y.mean() > 0, lambda z: z, lambda z: 2 * z, (y,)), "cond"),
    "a gate that chooses": (lambda _, y: y if torch.sigmoid(y).mean() > 0.5 else 2 * y, "bool"),
    "equal": (lambda _, y: y if torch.equal(y, y.abs()) else 2 * y, "equal"),
    "nonzero": (lambda _, y: y * len(torch.nonzero(y > 0)), "nonzero"),
    "where": (lambda _, y: y * len(torch.where(y > 0)[0]), "where"),
    "mask": (lambda _, y: y + y[y > 0].mean(), "getitem"),
    "unique": (lambda _, y: y * len(torch.unique(y.round())), "unique"),
    "token pruning": (
        _by_index(lambda t, s: t.gather(2, s.softmax(-1).topk(4, -1).indices.expand(-1, 6, -1))), "gather",
    ),
    "token pruning by gates": (
        _by_index(lambda t, s: t.gather(2, s.sigmoid().topk(4, -1)[1].expand(-1, 6, -1))), "gather",
    ),
    "sort": (_by_index(lambda t, s: torch.take_along_dim(t, s.sort(-1)[1][..., :4], 2)), "take_along_dim"),
    "argsort": (_by_index(lambda t, s: t.index_select(2, s[0, 0].argsort()[:4])), "index_select"),
    "scatter": (_by_index(lambda t, s: t * torch.zeros_like(s).scatter(2, s.topk(4)[1], 1.0)), "scatter"),
    "quantization": (lambda _, y: y + F.one_hot(y.argmax(1), 6).movedim(-1, 1).to(y), "one_hot"),
    "embedding": (lambda _, y: y + F.embedding(y.argmax(1), torch.eye(6).to(y)).movedim(-1, 1), "embedding"),
    "bucketize": (lambda _, y: y + torch.bucketize(y, torch.linspace(-1, 1, 5).to(y)), "bucketize"),
    "assignment": (_by_index(lambda t, s: t.index_fill(2, s[0, 0].argmax(), 0.0)), "index_fill"),
    "spatial transformer": (
        lambda _, y: F.grid_sample(
            y, F.affine_grid(torch.sigmoid(y.mean((2, 3))).view(-1, 2, 3), y.shape, align_corners=False),
            align_corners=False,
        ),
        "grid_sample",
    ),
    "sign, straight-through": (lambda m, y: y + m.mix(y + (torch.sign(y) - y).detach()), "becomes constant"),
    "sign, straight-through data": (lambda m, y: y + m.mix(y + (torch.sign(y) - y).data), "becomes constant"),
    "snake": (lambda m, y: y + m.mix(y + torch.sin(y) ** 2), "add .* no slope"),
    "polynomial": (lambda m, y: m.mix(y + 0.1 * y**2), "add .* no slope"),
    "difference without a slope": (lambda m, y: m.mix(y.square() - 2 * y), "sub .* no slope"),
    "leaky relu by a stack": (lambda m, y: m.mix(torch.stack([y, 0.1 * y]).amax(0)), "stack of functions"),
    "relu by a stack": (lambda m, y: m.mix(torch.stack([y, 0 * y], -1).max(-1)[0]), "stack of functions"),
    "softplus by a stack": (lambda m, y: m.mix(torch.stack([y, 0 * y]).logsumexp(0)), "stack of functions"),
    "derivative": (lambda _, y: y + torch.autograd.grad((y**2).sum(), y, create_graph=True)[0], "grad"),
    "neighbours": (lambda _, y: y - y.mean(0, keepdim=True), "mixes the images of a batch"),
    "custom function": (lambda _, y: _Staircase.apply(y), "autograd.Function _Staircase"),
    "custom function, new style": (lambda _, y: _Reversal.apply(y), "autograd.Function _Reversal"),
    "reentrant checkpoint": (lambda _, y: checkpoint(F.relu, y, use_reentrant=True), "reentrant checkpoint"),
    "inference mode": (lambda _, y: torch.inference_mode()(lambda z: 2 * z)(y), "no_grad"),
    "vmap": (lambda _, y: torch.vmap(F.relu)(y), "vmap"),
    "fractional": (lambda _, y: F.fractional_max_pool2d(y, 2, 2), "fractional max pooling"),
    "fractional module": (lambda _, y: nn.FractionalMaxPool2d(2, output_ratio=0.5)(y), "fractional max pooling"),
    "deviation as a branch": (lambda _, y: y + y.std((2, 3), keepdim=True), "std becomes constant"),
    "softmax as a branch": (lambda m, y: y + m.mix(y.flatten(2).softmax(-1).view_as(y)), "softmax becomes constant"),
    "tanh by sigmoids, not a gate": (lambda m, y: y + m.mix(2 * torch.sigmoid(2 * y) - 1), "sigmoid becomes constant"),
    "what cancels": (lambda _, y: y.square() - y, "W is 0"),
    "what is constant": (lambda _, y: y.std((2, 3), keepdim=True), "W is 0.*std"),
    "manhattan": (lambda _, y: y.abs(), "abs"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_names_the_operation(name: str) -> None:
    inner, message = REFUSED[name]
    with pytest.raises(LinearizationError, match=message) as caught:
        weight(inner)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda f, w: -torch.cdist(f, w, p=1), "cdist: a distance of order 1"),
        (lambda f, w: -torch.norm(f[:, None] - w, p=1, dim=-1), "norm: a distance of order 1"),
        (lambda f, w: torch.exp(-(torch.cdist(f, w) ** 2)), "exp"),
        (lambda f, w: -((f[:, None] - w) ** 2).flatten(2).sum(-1), "all classes have the same template"),
    ],
)
def test_distances_without_a_linear_part_are_refused(head: Head, message: str) -> None:
    with pytest.raises(LinearizationError, match=message):
        weight(PLACES["residual"](identity), POOLINGS["mean"], head)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_compiled_networks_are_read_and_quantized_ones_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 3))
    assert torch.equal(implicit_weight(torch.compile(network), (3, 2, 2)), implicit_weight(network, (3, 2, 2)))
    quantized = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(LinearizationError, match="quantized module"):
        implicit_weight(quantized, (3, 2, 2))


def test_what_only_looks_whether_values_are_finite_runs() -> None:
    def checks(m: Network, y: Tensor) -> Tensor:
        return y + m.mix(y) if not torch.isnan(y).any() and torch.isfinite(y).all() else y

    close(weight(checks), weight(PLACES["residual"](identity)))
