"""What each non-linear operation becomes: one row an operation (Bai et al., 2021, section 3, and docs/method.md).

A rule is applied where an operation's input depends on the network's input, and only there: batch norm called on
*weights*, as weight standardization does, stays what it is.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.linear import attention, pointwise, pooling, precision, products, recurrent

StandIn = Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """The operations of these names, wherever torch keeps them, become ``stand_in``, for this reason.

    Attributes:
        activation: what comes out counts as fresh from an activation, see :mod:`auditor.linear.products`.
        of_function: ``stand_in`` is made from the operation itself.
    """

    operations: str
    stand_in: StandIn
    reason: str
    activation: bool = False
    of_function: bool = False


def zero_pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Padding, where the -inf that a max pooling would ignore becomes 0."""
    if mode == "constant" and value == -torch.inf:
        value = 0.0
    return F.pad(input, pad, mode, value)


def constant_pad(input: Tensor, pad: Any, value: float = 0.0) -> Tensor:
    return zero_pad(input, pad, "constant", value)


ACTIVATION = "the paper: activations are dropped"
GATE = "a multiplicative gate lets all pass"
WEIGHTING = "a weighting becomes its constant mean"
MAX = "the paper: max pooling becomes average pooling"
STATISTICS = "normalization by the input's own statistics is not linear: the statistic is 1"
SAME_IN_PLACE = "the same, in place"

RULES: tuple[Rule, ...] = (
    Rule(
        "relu relu6 leaky_relu elu selu celu gelu silu mish prelu rrelu hardswish hardtanh tanh softplus softsign "
        "tanhshrink hardshrink softshrink threshold logsigmoid log_sigmoid clamp clip clamp_min clamp_max sin square",
        pointwise.identity,
        ACTIVATION,
        activation=True,
    ),
    Rule(
        "relu_ leaky_relu_ elu_ selu_ celu_ rrelu_ hardtanh_ tanh_ threshold_ clamp_ clip_ clamp_min_ clamp_max_ "
        "sin_ square_",
        pointwise.identity_in_place,
        SAME_IN_PLACE,
        activation=True,
    ),
    Rule("pow __pow__ float_power", pointwise.power, "a power is an activation; a root is a size", activation=True),
    Rule("abs __abs__ absolute", pointwise.magnitude, "with the sign, the tensor again; alone, no linear part"),
    Rule("sign sgn", pointwise.sign, "the same"),
    Rule("where", pointwise.where, "an activation written as a choice between its input and a constant"),
    Rule(
        "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout",
        pointwise.identity,
        "eval mode",
    ),
    Rule("dropout_ alpha_dropout_ feature_dropout_ feature_alpha_dropout_", pointwise.identity_in_place, SAME_IN_PLACE),
    Rule(
        "layer_norm group_norm instance_norm rms_norm local_response_norm",
        pointwise.identity,
        "normalization by the input's own statistics is not linear",
    ),
    Rule("norm vector_norm var std", pointwise.unit_size, STATISTICS, of_function=True),
    Rule("sqrt rsqrt", pointwise.root, STATISTICS),
    Rule("reciprocal", pointwise.open_gate, STATISTICS),
    Rule("exp", pointwise.exponential, "no linear part; over its sum it is a softmax"),
    Rule("__setitem__", pointwise.set_item, "an activation written as an assignment"),
    Rule("sqrt_ rsqrt_ reciprocal_", pointwise.open_gate_in_place, SAME_IN_PLACE),
    Rule("var_mean std_mean", pointwise.unit_size_and_mean, STATISTICS, of_function=True),
    Rule("div divide true_divide __truediv__", products.divide, "a divisor that depends on the input normalizes: 1"),
    Rule("div_ divide_ true_divide_ __itruediv__ __idiv__", products.divide_in_place, SAME_IN_PLACE),
    Rule("__rtruediv__ __rdiv__", products.divide_from_right, "the same, from the right"),
    Rule("sigmoid hardsigmoid expit", pointwise.open_gate, GATE),
    Rule("sigmoid_ hardsigmoid_", pointwise.open_gate_in_place, SAME_IN_PLACE),
    Rule("erf", pointwise.open_gate, "the gate of a GELU written by hand"),
    Rule("glu", pointwise.first_half, GATE),
    Rule("softmax _softmax", attention.uniform_weights, WEIGHTING),
    Rule("masked_fill", attention.masked_fill, "masks are often written as huge negative numbers"),
    Rule("masked_fill_", attention.masked_fill_in_place, SAME_IN_PLACE),
    Rule("add __add__ __radd__", attention.add, "and some masks are added to the scores"),
    Rule("add_ __iadd__", attention.add_in_place, SAME_IN_PLACE),
    Rule("log_softmax _log_softmax", pointwise.identity, "it changes no ranking of the logits"),
    Rule("log", pointwise.identity, "the inverse of the softmax, of probabilities that were mixed"),
    Rule("scaled_dot_product_attention", attention.uniform_attention, WEIGHTING),
    Rule("mul multiply __mul__ __rmul__", products.multiply, WEIGHTING),
    Rule("mul_ multiply_ __imul__", products.multiply_in_place, SAME_IN_PLACE),
    Rule("addcmul", products.add_product, WEIGHTING),
    Rule("matmul mm bmm mv __matmul__", products.matrix_product, WEIGHTING, of_function=True),
    Rule("addmm baddbmm addbmm addmv", products.add_matrix_product, WEIGHTING, of_function=True),
    Rule("einsum", products.einsum, WEIGHTING),
    Rule("lstm", recurrent.lstm, "gates let all pass, the cell's path through time stays"),
    Rule("gru", recurrent.gru, "the update gate weighs old against new: one half each"),
    Rule("rnn_tanh rnn_relu", recurrent.rnn, ACTIVATION),
    Rule("lstm_cell", recurrent.lstm_cell, "one step of the same"),
    Rule("gru_cell", recurrent.gru_cell, "one step of the same"),
    Rule("rnn_tanh_cell rnn_relu_cell", recurrent.rnn_cell, "one step of the same"),
    *(Rule(f"max_pool{d}d", pooling.average_pool(d), MAX) for d in (1, 2, 3)),
    *(Rule(f"adaptive_max_pool{d}d", pooling.adaptive_average(d), MAX) for d in (1, 2, 3)),
    *(
        Rule(f"max_pool{d}d_with_indices adaptive_max_pool{d}d_with_indices", pooling.refuse, "indices are not linear")
        for d in (1, 2, 3)
    ),
    Rule("amax amin logsumexp", pooling.mean_for_max, "max pooling over any dimension becomes average pooling"),
    Rule("max min", pooling.largest, "the same"),
    Rule("topk", pooling.largest_few, "the same, of the few largest"),
    Rule("maximum minimum fmax fmin", pooling.larger, "the same, of two tensors"),
    Rule("pad", zero_pad, "max pooling ignores -inf, average pooling cannot"),
    Rule("constant_pad_nd", constant_pad, "the same"),
    Rule("float double half bfloat16", precision.cast, "W has one precision throughout", of_function=True),
    Rule("to type type_as", precision.move, "the same", of_function=True),
    Rule("detach", pointwise.identity, "the map is read off by gradients: nothing may hide from them"),
)

REMOVE_BATCH_NORM = Rule("batch_norm", pointwise.identity, "the paper: batch normalization is removed")

LAYERS = (
    "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d matmul __matmul__ mm bmm "
    "addmm baddbmm addbmm einsum lstm gru rnn_tanh rnn_relu lstm_cell gru_cell "
    "rnn_tanh_cell rnn_relu_cell"
)
"""What counts as a linear layer on the way from the input."""

DISCRETE = (
    "gt ge lt le eq ne greater greater_equal less less_equal not_equal __gt__ __ge__ __lt__ __le__ __eq__ __ne__ "
    "isinf isnan argmax argmin argsort"
)
"""What depends on the input and has no gradient."""


@dataclass(frozen=True)
class Table:
    """The rules by torch's functions, and what else is to be known of functions."""

    stand_ins: dict[Any, StandIn]
    activations: frozenset[Any]
    layers: frozenset[Any]
    discrete: frozenset[Any]
    strict: frozenset[Any]


@functools.cache
def table(batch_norm: Literal["remove", "fold"]) -> Table:
    """The rules; with ``fold`` an eval-mode batch norm, affine as it is, runs unchanged."""
    rules = (*RULES, REMOVE_BATCH_NORM) if batch_norm == "remove" else RULES
    rows = [(function, rule) for rule in rules for function in _functions(rule.operations)]
    return Table(
        stand_ins={function: rule.stand_in(function) if rule.of_function else rule.stand_in for function, rule in rows},
        activations=frozenset(function for function, rule in rows if rule.activation),
        layers=frozenset(_functions(LAYERS)),
        discrete=frozenset(_functions(DISCRETE)),
        strict=frozenset(_functions(" ".join(precision.STRICT))),
    )


def _functions(operations: str) -> Iterator[Any]:
    places = (torch, torch.Tensor, F, torch._C._nn, torch.special, torch.linalg)
    for name in operations.split():
        found = [getattr(place, name) for place in places if callable(getattr(place, name, None))]
        if not found:
            raise LookupError(f"torch has no operation named {name}")
        yield from found
