"""W against the Jacobian of hand-written linear twins; what must be refused; what must not change."""

import copy
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.errors import InputError
from auditor.linear import LinearizationError, class_correlation, implicit_weight, linearize, template_gram
from auditor.zoo.demo.networks import SmallResNet
from tests.factories.layers import Refused, hidden, hooked
from tests.linear.twins import CASES, Case


@pytest.mark.parametrize("batch_norm", ["remove", "fold"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_weight_is_the_jacobian_of_the_twin(case: Case, batch_norm: str) -> None:
    twin = case.remove if batch_norm == "remove" else case.fold
    at = torch.randn(case.size, dtype=torch.float64)
    expected = torch.func.jacrev(twin)(at)
    weight = implicit_weight(case.network, case.size, batch_norm=batch_norm)
    assert weight.dtype == torch.float64
    assert weight.shape == expected.shape
    scale = expected.abs().max()
    assert scale > 1e-3
    torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9 * max(1.0, scale.item()))
    torch.testing.assert_close(linearize(case.network, batch_norm=batch_norm)(at[None])[0], twin(at))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gram_is_the_same_with_and_without_holding_w(case: Case) -> None:
    weight = implicit_weight(case.network, case.size).flatten(1)
    expected = weight @ weight.T
    for held_bytes in (2**30, 0):
        found = template_gram(case.network, case.size, held_bytes=held_bytes)
        torch.testing.assert_close(found.gram, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
        assert 0 <= found.affinity_error < 1e-11
        assert found.dtype == "float64"


@pytest.mark.parametrize("classes", [1, 4, 5, 6, 23])
def test_chunks_of_classes_make_one_w(classes: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, classes)).double()
    torch.testing.assert_close(implicit_weight(network, (3, 2, 2)).flatten(1), network[1].weight.detach())


def test_correlation_is_the_cosine_of_templates() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    with torch.no_grad():
        network[1].weight[2] = -3 * network[1].weight[0]
        network[1].weight[3] = 0
    found = class_correlation(network, (1, 2, 3))
    weight = network[1].weight.detach().double()
    expected = F.cosine_similarity(weight[:3, None], weight[None, :3], dim=2)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[:3, :3], expected, rtol=0, atol=1e-6)
    assert found[0, 2].item() == pytest.approx(-1)
    assert found[3].isnan().all()
    assert found[:, 3].isnan().all()


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (lambda z: z.exp(), r"exp"),
        (lambda z: z.cumprod(1), r"cumprod"),
        (lambda z: z**z, r"pow"),
        (lambda z: torch.where(z > 0, z, 2 * z.flip(1)), r"gt|where"),
        (lambda z: z.abs(), r"abs"),
        (lambda z: z.sigmoid(), r"W is 0.*sigmoid"),
        (lambda z: z + hidden(z), r"mul of the input runs under no_grad"),
        (lambda z: hooked(2 * z), r"does not match its forward pass"),
        (lambda z: z * float("inf"), r"not finite.*mul"),
        (lambda z: F.max_pool1d(z, 2, return_indices=True)[0], r"indices"),
        (lambda z: z[:, :, None], r"expected logits \(N, K\)"),
    ],
    ids=["exp", "cumprod", "power", "where", "abs", "sigmoid", "hidden", "hooked", "infinite", "indices", "shape"],
)
def test_refused_with_the_operation_that_is_to_blame(last: object, message: str) -> None:
    with pytest.raises(LinearizationError, match=message):
        implicit_weight(Refused(last), (1, 5, 5))


def test_blame_names_the_module() -> None:
    class Curved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sinh()

    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), Curved(), nn.Linear(4, 2))
    with pytest.raises(LinearizationError, match=r"sinh in 3$"):
        implicit_weight(network, (1, 2, 2))


def test_blame_leaves_out_what_never_reaches_the_logits() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
            return mixed.mean(1).sinh()

    with pytest.raises(LinearizationError, match=r"no linear stand-in for \S*sinh$"):
        implicit_weight(Attention(), (3, 2, 2))


@pytest.mark.parametrize("size", [(1, 28), (0, 4, 4), (1, 2, 3, 4)])
def test_input_size_is_checked(size: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="input size"):
        implicit_weight(nn.Flatten(), size)


def test_batch_norm_is_checked() -> None:
    with pytest.raises(InputError, match="'remove' or 'fold'"):
        linearize(nn.Flatten(), batch_norm="merge")


def test_a_network_that_does_not_take_the_input_is_an_error() -> None:
    with pytest.raises(LinearizationError, match="does not run"):
        implicit_weight(SmallResNet(), (3, 28, 28))


def test_float32_overflow_goes_to_float64() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in (network[1], network[3], network[5]):
            layer.weight.mul_(1e15)
    found = template_gram(network, (1, 2, 2))
    assert found.dtype == "float64"
    assert torch.isfinite(found.gram).all()
    expected = network[5].weight.double() @ network[3].weight.double() @ network[1].weight.double()
    torch.testing.assert_close(implicit_weight(network, (1, 2, 2)).flatten(1), expected.detach())


def test_half_precision_weights_are_read_in_float32() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).bfloat16()
    weight = implicit_weight(network, (1, 2, 2))
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.flatten(1), network[1].weight.detach().float())


def _state(network: nn.Module) -> list[object]:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    modes = [module.training for module in network.modules()]
    return [hooks, modes, [parameter.requires_grad for parameter in network.parameters()]]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_untouched_also_when_it_fails(training: bool) -> None:
    good, bad = SmallResNet().train(training), Refused(lambda z: z.exp()).train(training)
    for network in (good, bad):
        before, state = copy.deepcopy(network.state_dict()), _state(network)
        image = torch.rand(2, 1, 28, 28)
        try:
            implicit_weight(network, (1, 28, 28))
        except LinearizationError:
            assert network is bad
        assert _state(network) == state
        assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
        assert F.relu(torch.tensor(-1.0)) == 0
        del image


def test_threads_do_not_see_each_others_rules() -> None:
    network, image = SmallResNet().eval(), torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        expected = network(image)
    wrong: list[int] = []
    stop = threading.Event()

    def forward() -> None:
        while not stop.is_set():
            with torch.no_grad():
                if not torch.allclose(network(image), expected, atol=1e-5):
                    wrong.append(1)

    thread = threading.Thread(target=forward)
    thread.start()
    weights = [implicit_weight(network, (1, 28, 28)) for _ in range(5)]
    stop.set()
    thread.join()
    assert not wrong
    assert all(torch.allclose(weights[0], weight) for weight in weights)


def test_the_linearized_network_passes_gradients_and_leaves_its_input_alone() -> None:
    linear = linearize(CASES[-1].network)  # works on its input in place
    x = torch.rand(3, 1, 6, 6, dtype=torch.float64)
    kept = x.clone()
    assert not linear(x).requires_grad
    assert torch.equal(x, kept)
    x.requires_grad_()
    linear(x).sum().backward()
    assert x.grad is not None


class _Of(nn.Module):
    """A network of one function of the input and of its layers, in float64."""

    def __init__(self, function: object, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.head = nn.Linear(8, 4)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, x).flatten(1))


def _bn_then_in_place(self: _Of, x: Tensor) -> Tensor:
    y = self.bn(x)
    y *= 2
    return x + y


def _relu_then_in_place(self: _Of, x: Tensor) -> Tensor:  # noqa: ARG001
    y = F.relu(x)
    y += x
    return x + y


def _glu_then_in_place(self: _Of, x: Tensor) -> Tensor:  # noqa: ARG001
    y = F.glu(torch.cat([x, x], 1), dim=1)
    y.mul_(2)
    return x + y


def _relu_in_place(self: _Of, x: Tensor) -> Tensor:  # noqa: ARG001
    y = 3 * x
    F.relu(y, inplace=True)
    return x + y


def _sigmoid_in_place(self: _Of, x: Tensor) -> Tensor:  # noqa: ARG001
    gate = 3 * x
    gate.sigmoid_()
    return x * gate


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (_bn_then_in_place, 3),
        (_relu_then_in_place, 3),
        (_glu_then_in_place, 3),
        (_relu_in_place, 4),
        (_sigmoid_in_place, 1),
        (lambda _, x: torch.constant_pad_nd(x, (1, 0, 0, 0), -torch.inf)[..., 1:] * 5, 5),
    ],
    ids=["batch norm", "relu", "glu", "relu in place", "sigmoid in place", "constant_pad_nd"],
)
def test_in_place_operations_reach_what_they_would_reach(function: object, factor: float) -> None:
    network = _Of(function, bn=nn.BatchNorm2d(2))
    weight = implicit_weight(network, (2, 2, 2)).flatten(1)
    torch.testing.assert_close(weight, factor * network.head.weight.detach())


@pytest.mark.parametrize("value", [-torch.inf, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("way", ["masked_fill", "attention"])
def test_masks_written_as_huge_negative_numbers(way: str, value: float) -> None:
    """The last of four tokens of two numbers may look at itself only: its value is its own."""
    banned = torch.tensor([[True, True, True, False]]).expand(4, 4)

    def attend(_: _Of, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, 4, 2)
        if way == "attention":
            mask = torch.zeros(4, 4, dtype=x.dtype).masked_fill(banned, value)
            return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)
        return (tokens @ tokens.transpose(1, 2)).masked_fill(banned, value).softmax(-1) @ tokens

    network = _Of(attend)
    weight = implicit_weight(network, (2, 2, 2)).reshape(4, 4, 2)
    expected = torch.zeros(4, 4, 2, dtype=torch.float64)
    expected[:, 3] = network.head.weight.detach().reshape(4, 4, 2).sum(1)
    torch.testing.assert_close(weight, expected)


def test_attention_whose_weights_do_not_depend_on_the_input_keeps_them() -> None:
    query, key = torch.randn(2, 4, 3, dtype=torch.float64)
    fixed = (query @ key.T / 3**0.5).softmax(-1)

    def attend(_: _Of, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, 4, 2)
        return F.scaled_dot_product_attention(query.expand(len(x), 4, 3), key.expand(len(x), 4, 3), tokens)

    network = _Of(attend)
    weight = implicit_weight(network, (2, 2, 2)).reshape(4, 4, 2)
    torch.testing.assert_close(
        weight, torch.einsum("kld,lm->kmd", network.head.weight.reshape(4, 4, 2), fixed).detach()
    )


def _std_in_secret(_: _Of, x: Tensor) -> Tensor:
    with torch.no_grad():
        size = x.std((0, 2, 3), keepdim=True)
    return x / size


def _unregistered(self: _Of, x: Tensor) -> Tensor:
    return x * torch.sigmoid(self.secret[0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_std_in_secret, "std of the input runs under no_grad"),
        (_unregistered, "is not a parameter"),
        (lambda _, x: torch.cat([1e5 * x[:, :1], x[:, 1:].abs()], 1), "abs"),
        (lambda _, x: F.max_pool2d_with_indices(x, 1)[0], "indices"),
    ],
    ids=["batch statistics", "unregistered parameter", "hidden behind a large class", "indices"],
)
def test_what_looks_affine_and_is_not_the_network(function: object, message: str) -> None:
    network = _Of(function)
    network.secret = [nn.Parameter(torch.randn(2, 2, 2, dtype=torch.float64))]
    if "abs" in message:
        network.head = nn.Identity()
    with pytest.raises(LinearizationError, match=message):
        implicit_weight(network, (2, 2, 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_scripted_modules_are_refused() -> None:
    inner = torch.jit.trace(nn.Conv2d(1, 2, 2).eval(), torch.rand(1, 1, 4, 4), check_trace=False)
    with pytest.raises(LinearizationError, match="scripted"):
        linearize(nn.Sequential(inner, nn.Flatten()))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_old_weight_norm_is_followed() -> None:
    layer = nn.utils.weight_norm(nn.Linear(4, 3).double())
    weight = implicit_weight(nn.Sequential(nn.Flatten(), layer), (1, 2, 2))
    expected = layer.weight_g * layer.weight_v / layer.weight_v.norm(dim=1, keepdim=True)
    torch.testing.assert_close(weight.flatten(1), expected.detach())


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(1, 3, 0, 2), (2, 2, 1, 2), (3, 2, 1, 2), (2, 3, 0, 3)]
)
def test_dilated_pooling_has_the_size_of_max_pooling_and_averages_ones_to_one_inside(
    kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> None:
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    for size in range(7, 12):
        ones = torch.ones(1, 1, size, size)
        linear = linearize(pool)(ones)
        assert linear.shape == pool(ones).shape
        assert linear.max() == pytest.approx(1)
        if padding == 0:
            torch.testing.assert_close(linear, torch.ones_like(linear))
