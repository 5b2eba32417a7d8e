"""What people hand in: the plain model's figures, or one line of InputError that says what was expected and got."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import Protocol, evaluate_robustness
from auditor.boost import cluster_regularizer
from auditor.clustering import clustering_scores
from auditor.errors import AuditorError, InputError, LinearizationError, describe
from auditor.linear import implicit_weight, linearize
from tests.factories.attacked_models import Linear

GOOD: dict[str, Any] = {"norm": "Linf", "eps": 0.1, "protocol": "quick"}


def _images(n: int = 30) -> tuple[Tensor, Tensor]:
    images = 0.3 + 0.4 * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return images, Linear(5)(images).argmax(1)


class Headed(nn.Module):
    def __init__(self, head: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.head = Linear(5), head

    def forward(self, x: Tensor) -> Any:
        return self.head(self.inner(x))


class ForgetsToReturn(Linear):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


class RaisesInTrain(Linear):
    def train(self, mode: bool = True) -> "RaisesInTrain":
        if mode:
            return super().train()
        raise RuntimeError("frozen for good")


@dataclasses.dataclass
class Output:
    logits: Tensor


def _fails(_: Tensor) -> Tensor:
    raise KeyError("head")


def _exits(_: Tensor) -> Tensor:
    raise SystemExit("no GPU")


OUTPUTS = {
    "tuple": (lambda z: (z, z), "a tuple of Tensor, Tensor"),
    "dict": (lambda z: {"logits": z}, "a dict with 'logits'"),
    "list": (lambda z: [z], "a list of Tensor"),
    "dataclass": (Output, "Output"),
    "nothing": (lambda _: None, "NoneType"),
    "array": (lambda z: z.detach().numpy(), "ndarray"),
    "(N,)": (lambda z: z[:, 0], r"\(1,\)"),
    "(N, K, 1)": (lambda z: z[..., None], r"\(1, 5, 1\)"),
    "(N, 1)": (lambda z: z[:, :1], "2 classes or more"),
    "another N": (lambda z: torch.cat([z, z]), r"\(2, 5\)"),
    "integers": (lambda z: z.long(), "int64"),
    "infinite": (lambda z: z / 0, "finite logits.*30 of 30"),
    "sparse": (lambda z: z.to_sparse(), "a dense tensor, the model gives a torch.sparse_coo one"),
    "complex": (lambda z: z.to(torch.complex64), "torch.complex64"),
    "an exit": (_exits, r"SystemExit: no GPU \(at \S*test_inputs.py:\d+\)"),
    "an exception": (_fails, r"KeyError: 'head' \(at \S*test_inputs.py:\d+\)"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_are_no_logits(name: str) -> None:
    head, said = OUTPUTS[name]
    with pytest.raises(InputError, match=said) as caught:
        evaluate_robustness(Headed(head), *_images(), **GOOD)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", sorted(set(OUTPUTS) - {"infinite", "integers", "(N, 1)"}))
def test_outputs_that_cannot_be_linearized(name: str) -> None:
    with pytest.raises(LinearizationError) as caught:
        implicit_weight(Headed(OUTPUTS[name][0]), (1, 6, 6))
    assert not re.search("has no attribute|has no len", str(caught.value))


class NanWhereBright(Linear):
    """No finite logits where a pixel is brighter than in any of the images."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).amax(1, keepdim=True) > 0.7001
        return torch.where(bright, torch.nan, super().forward(x))


@pytest.mark.parametrize("label", [0, 4])
def test_nan_on_an_adversarial_image_is_no_right_answer(label: int) -> None:
    images = _images(200)[0]
    images[:, :, 0, 0] = 0.7
    images = images[NanWhereBright(5)(images).argmax(1) == label]
    labels = torch.full((len(images),), label)

    def brighter(_: nn.Module, x: Tensor, __: Tensor, *, eps: float, **___: object) -> Tensor:
        return (x + eps).clamp(0, 1)

    protocol = Protocol("none", 10, (), "")
    found = evaluate_robustness(
        NanWhereBright(5), images, labels, norm="Linf", eps=0.01, protocol=protocol, attacks={"brighter": brighter}
    )
    assert (found.clean_accuracy, found.robust_accuracy) == (1.0, 0.0)
    assert "brighter: the model gives NaN on adversarial images, which count as misclassified" in found.notes
    assert not (found.predicted == labels).any()


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_layers_that_have_not_run_are_told() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(InputError, match="lazy layers have none yet: run it once"):
        evaluate_robustness(model, *_images(), **GOOD)
    with pytest.raises(InputError, match="lazy layers have none yet: run it once"):
        implicit_weight(model, (1, 6, 6))


def test_a_model_that_exits_is_told() -> None:
    def leaves(_: Tensor) -> Tensor:
        raise SystemExit(3)

    with pytest.raises(InputError, match=r"raised SystemExit: 3 \(at \S*test_inputs.py:\d+\)"):
        evaluate_robustness(Headed(leaves), *_images(), **GOOD)


def test_a_train_that_raises_is_told() -> None:
    with pytest.raises(InputError, match=r"eval.*frozen for good"):
        evaluate_robustness(RaisesInTrain(5), *_images(), **GOOD)


def test_a_backward_pass_that_raises_is_told() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: ARG004
            raise ArithmeticError("no way back")

    with pytest.raises(InputError, match=r"backward.*ArithmeticError: no way back \(at \S*test_inputs.py"):
        evaluate_robustness(Headed(Broken.apply), *_images(), **GOOD)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(5).double(),
        lambda: Linear(5).forward,
        lambda: functools.partial(Linear(5).forward),
        lambda: lambda x: Linear(5)(x),
        lambda: torch.jit.script(Linear(5)),
        lambda: torch.jit.trace(Linear(5), torch.zeros(2, 1, 6, 6)),
        lambda: ForgetsToReturn(5),
    ],
    ids=["float64", "method", "partial", "function", "scripted", "traced", "train() without return"],
)
def test_models_of_any_make_have_the_figures_of_the_plain_one(make: Callable[[], Any]) -> None:
    images, labels = _images()
    expected = evaluate_robustness(Linear(5), images, labels, **GOOD)
    found = evaluate_robustness(make(), images, labels, **GOOD)
    assert int((found.survived != expected.survived).sum()) <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_are_cast_for(dtype: torch.dtype) -> None:
    found = evaluate_robustness(Linear(5).to(dtype), *_images(), **GOOD)
    assert 0 <= found.robust_accuracy < found.clean_accuracy


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x.numpy(), y.numpy()),
        lambda x, y: (x.numpy().astype(">f4"), y.tolist()),
        lambda x, y: (list(x), y.int()),
        lambda x, y: (x.numpy()[:, ::-1].copy()[:, ::-1], y.numpy().astype(np.uint8)),
        lambda x, y: (x.requires_grad_(), y.short()),
        lambda x, y: (x.double(), y),
    ],
    ids=["numpy", "big endian", "list", "strides", "gradients", "float64"],
)
def test_images_and_labels_of_any_kind(change: Callable[[Tensor, Tensor], Any]) -> None:
    expected = evaluate_robustness(Linear(5), *_images(), **GOOD)
    images, labels = change(*_images())
    found = evaluate_robustness(Linear(5), images, labels, **GOOD)
    assert int((found.survived != expected.survived).sum()) <= 1


X, Y = _images(3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "NoneType, not callable"),
        ({"model": Linear}, "the class Linear"),
        ({"model": "resnet"}, "str, not callable"),
        ({"model": Linear(5).to("meta")}, "meta and cpu"),
        ({"images": None}, "images"),
        ({"images": "x.npz"}, "images"),
        ({"images": [X[0], X[0, :, :2]]}, "images"),
        ({"images": (255 * X).byte()}, "divide by 255"),
        ({"images": X.to_sparse()}, "dense"),
        ({"labels": torch.eye(5)[Y]}, "one-hot"),
        ({"labels": Y.float()}, "whole numbers"),
        ({"labels": Y[:, None]}, r"labels\[:, 0\]"),
        ({"labels": Y.bool()}, "whole numbers"),
        ({"labels": ["a", "b", "c"]}, "labels"),
        ({"norm": "linf"}, "'linf'"),
        ({"norm": None}, "None"),
        ({"norm": torch.inf}, "float"),
        ({"eps": "8/255"}, "'8/255'"),
        ({"eps": None}, "None"),
        ({"eps": -0.1}, "eps above 0"),
        ({"eps": float("nan")}, "eps above 0"),
        ({"eps": True}, "True"),
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": 2.5}, "integers"),
        ({"seed": None}, "integers"),
        ({"protocol": "best"}, "quick, standard, strong, full"),
        ({"protocol": None}, "protocol"),
        ({"protocol": ["quick"]}, "protocol"),
        ({"indices": [1, 2]}, "3 indices"),
        ({"indices": [-1, 0, 1]}, "0 or more"),
    ],
)
def test_arguments_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    arguments = {"model": Linear(5), "images": X, "labels": Y, **GOOD} | changes
    with pytest.raises(InputError, match=said) as caught:
        evaluate_robustness(**arguments)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("eps", [np.float32(0.1), np.float64(0.1), torch.tensor(0.1), np.array(0.1)])
def test_numbers_of_any_make(eps: Any) -> None:
    assert evaluate_robustness(Linear(5), X, Y, **(GOOD | {"eps": eps, "seed": np.int64(3)})).batch_size == 256


def test_what_a_progress_callback_raises_is_not_the_model_s() -> None:
    def stop(*_: object) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        evaluate_robustness(Linear(5), X, Y, progress=stop, **GOOD)


@pytest.mark.parametrize("model", [Linear(5).forward, lambda x: x, None, Linear, "net"])
def test_linearization_wants_a_module(model: Any) -> None:
    for function in (linearize, lambda one: implicit_weight(one, (1, 6, 6))):
        with pytest.raises(InputError, match=r"nn\.Module"):
            function(model)


@pytest.mark.parametrize("size", [None, 28, "abc", (1, 28), (1, 6.0, 6), (1, 0, 6)])
def test_input_sizes(size: Any) -> None:
    with pytest.raises(InputError, match=r"\(C, H, W\)"):
        implicit_weight(Linear(5), size)


C = np.eye(4)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("x", "aabb"), {}),
        ((None, "aabb"), {}),
        (([[1, 2], [3]], "aa"), {}),
        ((1j * C, "aabb"), {}),
        ((C, None), {}),
        ((C, 4), {}),
        ((C, [[1], [1], [2], [2]]), {}),
        ((C, "aabb"), {"permutations": -1}),
        ((C, "aabb"), {"permutations": "many"}),
        ((C, "aabb"), {"seed": -1}),
        ((C, "aabb"), {"levels": ["ab"]}),
    ],
)
def test_scores_of_what_is_none(arguments: tuple[Any, Any], settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        clustering_scores(*arguments, **settings)


def test_superclasses_as_tensors_are_numbers() -> None:
    expected = clustering_scores(C, [0, 0, 1, 1])
    assert clustering_scores(torch.eye(4, requires_grad=True), torch.arange(4) // 2).gap == expected.gap


@pytest.mark.parametrize("logits", [None, (X,), {"logits": X}, np.eye(4), torch.eye(4).long(), torch.zeros(0, 4)])
def test_the_regularizer_of_what_is_no_logits(logits: Any) -> None:
    with pytest.raises(InputError, match="logits"):
        cluster_regularizer(logits, "aabb")


def test_an_exception_is_described_by_the_line_of_other_people() -> None:
    with pytest.raises(RuntimeError) as caught:
        nn.Sequential(nn.Linear(2, 2))(torch.zeros(1, 3))
    assert re.fullmatch(r"RuntimeError: .* \(at \S*test_inputs.py:\d+\)", describe(caught.value))
    assert describe(ValueError()) == "ValueError"
    assert issubclass(InputError, AuditorError)


def test_a_protocol_of_one_s_own_needs_no_name() -> None:
    assert evaluate_robustness(Linear(5), X, Y, **(GOOD | {"protocol": Protocol("none", 3, (), "")})).attacks == []
