"""What each non-linear operation becomes: one row per operation (Bai et al., 2021, section 3, and docs/method.md).

A rule applies only if an operation's input depends on the network's input: batch norm called on *weights*, as in weight
standardization, stays unchanged.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.linear import (
    attention,
    compositions,
    distances,
    pointwise,
    pooling,
    precision,
    products,
    recurrent,
    refused,
)

StandIn = Callable[..., Any]

DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Rule:
    """The operations of these names, wherever torch keeps them, become ``stand_in``, for this reason.

    Attributes:
        activation: the result counts as coming directly from an activation, see :mod:`auditor.linear.products`.
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
        "tanhshrink hardshrink softshrink threshold logsigmoid log_sigmoid clamp clip clamp_min clamp_max sin",
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
    Rule("square", distances.square, "an activation, or a term of a squared distance", activation=True),
    Rule("pow __pow__ float_power", distances.raise_to, "a power is an activation; a root is a size", activation=True),
    Rule(
        "round floor ceil trunc fix fake_quantize_per_tensor_affine",
        pointwise.identity,
        "a staircase is an activation",
        activation=True,
    ),
    Rule("round_ floor_ ceil_ trunc_ fix_", pointwise.identity_in_place, SAME_IN_PLACE, activation=True),
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
    Rule(
        "norm vector_norm", distances.norm, "a size is 1; of a difference from a constant, a distance", of_function=True
    ),
    Rule("var std", pointwise.unit_size, STATISTICS, of_function=True),
    Rule("sqrt", distances.root(pointwise.root), STATISTICS),
    Rule("rsqrt", pointwise.root, STATISTICS),
    Rule("reciprocal", pointwise.open_gate, STATISTICS),
    Rule("exp", pointwise.exponential, "no linear part; over its sum it is a softmax"),
    Rule("__setitem__", pointwise.set_item, "an activation written as an assignment"),
    Rule("sqrt_ rsqrt_ reciprocal_", pointwise.open_gate_in_place, SAME_IN_PLACE),
    Rule("var_mean std_mean", pointwise.unit_size_and_mean, STATISTICS, of_function=True),
    Rule(
        "div divide true_divide __truediv__",
        distances.scaled(products.divide, commutes=False),
        "a divisor that depends on the input normalizes: 1",
    ),
    Rule("div_ divide_ true_divide_ __itruediv__ __idiv__", products.divide_in_place, SAME_IN_PLACE),
    Rule("__rtruediv__ __rdiv__", products.divide_from_right, "the same, from the right"),
    Rule("sigmoid hardsigmoid expit", pointwise.gate, GATE),
    Rule("sigmoid_ hardsigmoid_", pointwise.gate_in_place, SAME_IN_PLACE),
    Rule("erf", pointwise.gate, "the gate of a GELU written by hand"),
    Rule("glu", pointwise.first_half, GATE),
    Rule("softmax _softmax", attention.uniform_weights, WEIGHTING),
    Rule("masked_fill", attention.masked_fill, "masks are often written as huge negative numbers"),
    Rule("masked_fill_", attention.masked_fill_in_place, SAME_IN_PLACE),
    Rule("add __add__ __radd__", attention.add, "some masks are added to the scores"),
    Rule("add_ __iadd__", attention.add_in_place, SAME_IN_PLACE),
    Rule("log_softmax _log_softmax", pointwise.identity, "it changes no ranking of the logits"),
    Rule("log", pointwise.identity, "the inverse of the softmax, of probabilities that were mixed"),
    Rule("scaled_dot_product_attention", attention.uniform_attention, WEIGHTING),
    Rule("mul multiply __mul__ __rmul__", distances.scaled(products.multiply), WEIGHTING),
    Rule("mul_ multiply_ __imul__", products.multiply_in_place, SAME_IN_PLACE),
    Rule("addcmul", products.add_product, WEIGHTING),
    Rule("sub subtract __sub__", distances.subtract, "a difference may be the start of a squared distance"),
    Rule("sub_ subtract_ __isub__", distances.subtract_in_place, SAME_IN_PLACE),
    Rule("rsub __rsub__", distances.subtract_from_right, "the same, from the right"),
    Rule("neg negative __neg__", distances.negative, "the same"),
    Rule("sum mean", distances.total, "a sum of squared differences is a squared distance", of_function=True),
    Rule("cdist", distances.cdist, "the linear part of a squared distance is -2 f.w"),
    Rule("pairwise_distance", distances.pairwise_distance, "the same"),
    Rule("cosine_similarity", distances.cosine_similarity, "the input's own size is 1"),
    Rule("linear", distances.fully_connected, "linear; of a difference, a difference"),
    Rule("matmul mm bmm mv __matmul__", distances.projected, WEIGHTING, of_function=True),
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
    Rule("amax amin", pooling.mean_for_max, "max pooling over any dimension becomes average pooling"),
    Rule("logsumexp", distances.log_sum_exp(pooling.mean_for_max), "the same"),
    *(
        Rule(f"fractional_max_pool{d}d fractional_max_pool{d}d_with_indices", refused.refuse_random_windows, "random")
        for d in (2, 3)
    ),
    Rule("max min", pooling.largest, "the same"),
    Rule("topk", pooling.largest_few, "the same, of the few largest"),
    Rule("maximum minimum fmax fmin", pooling.larger, "the same, of two tensors"),
    Rule("stack", pooling.stack, "of parts of one function, no maximum may be taken"),
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
"""Operations that count as linear layers on the path from the input."""

ADDITIVE = "add __add__ __radd__ add_ __iadd__ sub subtract __sub__ sub_ __isub__ rsub __rsub__ cat concat stack"
"""Operations that join branches of a network; no branch may have become constant."""

SCALED = (
    "mul multiply __mul__ __rmul__ mul_ multiply_ __imul__ div divide true_divide __truediv__ div_ __itruediv__ neg "
    "neg_ negative __neg__ view reshape flatten squeeze unsqueeze transpose permute expand expand_as clone contiguous "
    "view_as reshape_as __getitem__ t swapaxes movedim relu abs sign clamp clip float double half to type type_as"
)
"""Operations that only multiply by constants or change the shape; and activations that do not change a power mean."""

SHAPES = (
    "view reshape flatten unflatten squeeze unsqueeze transpose permute expand expand_as clone contiguous view_as "
    "reshape_as __getitem__ t swapaxes movedim chunk split narrow select unbind repeat repeat_interleave flip roll "
    "detach float double half to type type_as upsample interpolate dropout mean sum avg_pool1d avg_pool2d "
    "adaptive_avg_pool1d adaptive_avg_pool2d pad"
)
"""Operations that may follow a gate that later turns out to be an activation."""

LIKE_ANOTHER = "expand_as view_as reshape_as to type type_as"
"""Operations that take only the shape, dtype or device of tensors after the first."""

AVERAGES = "sum mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"


@dataclass(frozen=True)
class Table:
    """The rules by torch's functions, and the groups that functions belong to."""

    stand_ins: dict[Any, StandIn]
    activations: frozenset[Any]
    layers: frozenset[Any]
    strict: frozenset[Any]
    additive: frozenset[Any]
    scaled: frozenset[Any]
    averages: frozenset[Any]
    shapes: frozenset[Any]
    neutral: frozenset[Any]
    like_another: frozenset[Any]
    choices: dict[Any, str]
    kinds: compositions.Kinds


@functools.cache
def table(batch_norm: Literal["remove", "fold"]) -> Table:
    """The rules; with ``fold`` an eval-mode batch norm runs unchanged, because it is affine."""
    rules = (*RULES, REMOVE_BATCH_NORM) if batch_norm == "remove" else RULES
    rows = [(function, rule) for rule in rules for function in _functions(rule.operations)]
    stand_ins = {function: rule.stand_in(function) if rule.of_function else rule.stand_in for function, rule in rows}
    stand_ins[DATA] = pointwise.identity_in_place
    activations = frozenset(function for function, rule in rows if rule.activation)
    return Table(
        stand_ins=stand_ins,
        activations=activations,
        layers=_named(LAYERS),
        strict=_named(" ".join(precision.STRICT)),
        additive=_named(ADDITIVE),
        scaled=_named(SCALED),
        averages=_named(AVERAGES),
        shapes=_named(SHAPES),
        neutral=_named(refused.NEUTRAL),
        like_another=_named(LIKE_ANOTHER),
        choices={
            **dict.fromkeys(_named(refused.READS), "read"),
            **dict.fromkeys(_named(refused.CONTENTS), "content"),
            **dict.fromkeys(_named(refused.LOOKUPS), "lookup"),
            **dict.fromkeys(_named(refused.GRIDS), "grid"),
            **dict.fromkeys(_named("__setitem__"), "assignment"),
            **dict.fromkeys(_named("where"), "where"),
            torch.autograd.grad: "derivative",
        },
        kinds=compositions.Kinds(
            identities=activations | _named("log"),
            sums=_named(compositions.SUMS),
            products=_named(compositions.PRODUCTS),
            choices=_named(compositions.CHOICES),
            gates=_named(compositions.GATES),
            curved=_named(compositions.CURVED),
            copies=_named(compositions.COPIES) | {DATA},
        ),
    )


def _named(operations: str) -> frozenset[Any]:
    return frozenset(_functions(operations))


def _functions(operations: str) -> Iterator[Any]:
    places = (torch, torch.Tensor, F, torch._C._nn, torch.special, torch.linalg)
    for name in operations.split():
        found = [getattr(place, name) for place in places if callable(getattr(place, name, None))]
        if not found:
            raise LookupError(f"torch has no operation named {name}")
        yield from found
