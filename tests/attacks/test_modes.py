"""torch's global modes, and gradients that are not finite: neither changes a number in silence."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.linear import implicit_weight, linearize
from auditor.torch_state import default_modes, exact_products
from tests.factories.attacked_models import Linear

EPS = {"Linf": 0.0086, "L2": 0.04}  # breaks about half of the images


class Around(nn.Module):
    """A linear classifier, called by a function of it and of the images."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor] = lambda inner, x: inner(x)) -> None:
        super().__init__()
        self.inner, self.call = Linear(5), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.inner, x)


def _images(n: int = 40) -> tuple[Tensor, Tensor]:
    images = 0.3 + 0.4 * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return images, Linear(5)(images).argmax(1)


def _quick(model: Any, images: Tensor, labels: Tensor, norm: str = "Linf", protocol: Any = "quick") -> Any:
    return evaluate_robustness(model, images, labels, norm=norm, eps=EPS[norm], protocol=protocol)


@contextmanager
def _switched_off() -> Iterator[None]:
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)


@contextmanager
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _short_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")  # bfloat16 on CPUs that have it, TF32 on GPUs
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


MODES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled(False)": _switched_off,
    "default dtype float64": _float64,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": _deterministic,
    "short products": _short_products,
}


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("mode", MODES)
def test_the_caller_s_modes_change_no_verdict_and_stay(mode: str, norm: str) -> None:
    model, (images, labels) = Around(), _images()
    expected = _quick(model, images, labels, norm)
    assert 0 < expected.robust_accuracy < 1
    with MODES[mode]():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
        found = _quick(model, images, labels, norm)
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
    assert torch.equal(found.survived, expected.survived)
    assert found.flags == expected.flags


@pytest.mark.parametrize("mode", MODES)
def test_the_caller_s_modes_change_no_template(mode: str) -> None:
    model = Around()
    expected = implicit_weight(model, (1, 6, 6))
    with MODES[mode]():
        torch.testing.assert_close(implicit_weight(model, (1, 6, 6)), expected)
        assert linearize(model)(torch.zeros(2, 1, 6, 6)).shape == (2, 5)


PRODUCTS: list[Any] = [
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,
    torch.backends.mkldnn.matmul,
]


def _precisions() -> list[object]:
    """Of the five operations, and of the older settings; None where torch refuses to read one."""
    found: list[object] = [part.fp32_precision for part in PRODUCTS]
    for read in (lambda: torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision):
        try:
            found.append(read())
        except RuntimeError:
            found.append(None)
    return found


def _set_convolutions(name: str) -> None:
    torch.backends.cudnn.conv.fp32_precision = name


@pytest.mark.parametrize(
    "change",
    [
        lambda: None,
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: _set_convolutions("ieee"),  # contradicts the older setting, which cannot be read any more
    ],
)
def test_products_of_float32_are_exact_inside_and_the_settings_are_restored(change: Callable[[], None]) -> None:
    start = _precisions()
    change()
    before = _precisions()
    try:
        with exact_products():
            assert _precisions() == [*["ieee"] * 5, False, "highest"]
            with torch.backends.cudnn.flags(enabled=True):  # reads the older settings
                pass
        assert _precisions() == before
        with default_modes(exact=False):
            assert _precisions() == before
    finally:
        _set_convolutions("tf32")
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("highest")
        for part, precision in zip(PRODUCTS, start, strict=False):
            part.fp32_precision = precision
        assert _precisions() == start


def test_what_was_made_in_inference_mode_is_measured_like_all_else() -> None:
    expected = _quick(Around(), *_images())
    with torch.inference_mode():
        model, (images, labels) = Around(), _images()
    assert model.inner.weight.is_inference()
    for inside in (torch.inference_mode, nullcontext):
        with inside():
            assert torch.equal(_quick(model, images, labels).survived, expected.survived)
            assert implicit_weight(model, (1, 6, 6)).shape == (5, 1, 6, 6)
    assert model.inner.weight.is_inference()  # as it came


def _leaves_it_off(inner: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = inner(x)
    torch.set_grad_enabled(False)
    return logits


def _switches_it_off(inner: nn.Module, x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    logits: Tensor = inner(x)
    return logits


def _without(inner: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = inner(x)
    return logits


def _inference(inner: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = inner(x)
    return logits


def test_a_model_that_leaves_gradients_off_is_attacked_all_the_same() -> None:
    images, labels = _images()
    found = _quick(Around(_leaves_it_off), images, labels)
    assert torch.equal(found.survived, _quick(Around(), images, labels).survived)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("call", [_switches_it_off, _without, _inference, lambda inner, x: inner(x.detach())])
def test_a_model_without_gradients_is_flagged(call: Callable[[nn.Module, Tensor], Tensor]) -> None:
    found = _quick(Around(call), *_images())
    assert "zero_gradients" in found.flags
    assert torch.is_grad_enabled()


class _Backward(torch.autograd.Function):
    """The identity, whose gradient is spoilt at some pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spoilt: float, rows: slice) -> Tensor:
        ctx.spoilt, ctx.rows = spoilt, rows
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        gradient = gradient.clone()
        gradient[:, :, ctx.rows] = ctx.spoilt
        return gradient, None, None


def _spoilt(value: float, rows: slice = slice(0, 1)) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda inner, x: inner(_Backward.apply(x, value, rows))


SPOILT = {
    "NaN": _spoilt(float("nan")),
    "infinite": _spoilt(float("inf")),
    "minus infinite": _spoilt(-float("inf"), slice(2, 4)),
    "square root of 0": lambda inner, x: inner(x) + 0 * torch.sqrt(0 * x).sum((1, 2, 3))[:, None],
    "norm of 0": lambda inner, x: inner(x) + 0 * ((x - x) ** 2).sum((1, 2, 3)).pow(0.5)[:, None],
}


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", SPOILT)
def test_gradients_that_are_not_finite_are_counted_replaced_and_flagged(name: str, norm: str) -> None:
    found = _quick(Around(SPOILT[name]), *_images(), norm)
    assert "nonfinite_gradients" in found.flags
    assert any("gradients held NaN or infinite values" in note for note in found.notes)
    assert "out_of_budget" not in found.flags
    if "0" not in name:  # the pixels that are left do their part
        assert found.robust_accuracy < 1


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab-t"])
def test_the_library_s_attacks_go_on_without_the_spoilt_pixels(name: str, norm: str) -> None:
    attack = next(one for one in PROTOCOLS["standard"].attacks if one.name == name)
    found = _quick(Around(SPOILT["NaN"]), *_images(10), norm, Protocol("alone", 10, (attack,), ""))
    assert "nonfinite_gradients" in found.flags
    assert "out_of_budget" not in found.flags
    assert found.robust_accuracy < 1


def test_a_few_are_a_note() -> None:
    first = _images()[0][:1]

    def call(inner: nn.Module, x: Tensor) -> Tensor:
        same = (x == first).flatten(1).all(1).nonzero().flatten()  # one image of forty, until it is moved
        return inner(x).index_put((same,), _spoilt(float("nan"))(inner, x[same]))

    found = _quick(Around(call), *_images())
    assert found.flags == []
    assert any("gradients held NaN" in note for note in found.notes)
