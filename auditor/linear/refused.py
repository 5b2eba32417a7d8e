"""Operations that read values that depend on the input, or look up by them: no linear map can choose by values."""

from typing import Any

from torch import Tensor
from torch import bool as bool_
from torch.utils import _pytree as pytree

from auditor.errors import LinearizationError
from auditor.linear.history import past_of, sees_input

READS = (
    "__bool__ __int__ __float__ __index__ __complex__ __contains__ item tolist numpy __array__ is_nonzero equal "
    "allclose"
)
"""Operations that pass values to Python."""

CONTENTS = (
    "nonzero argwhere unique unique_consecutive bincount histc multinomial one_hot embedding embedding_bag bucketize "
    "searchsorted masked_select"
)
"""Operations whose result has a shape, or rows, that depend on values."""

LOOKUPS = (
    "__getitem__ gather index_select take take_along_dim index_add index_add_ index_copy index_copy_ index_fill "
    "index_fill_ index_put index_put_ scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ "
    "masked_scatter masked_scatter_ repeat_interleave narrow roll tensor_split max_unpool1d max_unpool2d max_unpool3d"
)
"""Operations whose arguments after the first may be indices."""

GRIDS = "grid_sample grid_sampler grid_sampler_2d grid_sampler_3d"
"""Operations whose second argument gives the positions to read."""

NEUTRAL = (
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty new_full "
    "new_tensor isnan isinf isfinite isposinf isneginf _shape_as_tensor broadcast_tensors bernoulli"
)
"""Operations whose result does not depend on values, as long as these are finite."""


def refuse_random_windows(*_: Any, **__: Any) -> Tensor:
    raise LinearizationError("fractional max pooling draws its windows at random: it has no linear stand-in")


def follows_input(value: object) -> bool:
    """Whether a value depends on the input, with a gradient, without one, or as a constant that replaces it."""
    return isinstance(value, Tensor) and (sees_input(value) or past_of(value).discrete or bool(past_of(value).frozen))


def is_index(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and follows_input(value)


def refuse_choice(kind: str, name: str, args: Any, kwargs: Any) -> None:
    """Raise if an operation of this kind would choose by the input's values."""
    rest = pytree.tree_leaves((args[1:], kwargs))
    if kind == "read" and any(follows_input(leaf) for leaf in pytree.tree_leaves((args, kwargs))):
        raise LinearizationError(
            f"{name} passes values that depend on the input to Python, which may choose by them: no linear stand-in"
        )
    if kind == "content" and any(follows_input(leaf) for leaf in pytree.tree_leaves((args, kwargs))):
        raise LinearizationError(f"{name} of values that depend on the input has no linear stand-in")
    if kind == "derivative" and any(follows_input(leaf) for leaf in pytree.tree_leaves((args, kwargs))):
        raise LinearizationError(f"{name} of values that depend on the input has no linear stand-in")
    if kind == "lookup" and any(is_index(leaf) for leaf in rest):
        raise LinearizationError(f"{name} by indices that depend on the input has no linear stand-in")
    if kind == "assignment" and any(is_index(leaf) and leaf.dtype != bool_ for leaf in pytree.tree_leaves(args[1:2])):
        raise LinearizationError(f"{name} by indices that depend on the input has no linear stand-in")
    if kind == "where" and len(args) == 1 and not kwargs and follows_input(args[0]):
        raise LinearizationError(
            "where without branches finds places by values that depend on the input: no linear stand-in"
        )
    if kind == "grid" and any(follows_input(leaf) for leaf in pytree.tree_leaves((args[1:2], kwargs.get("grid")))):
        raise LinearizationError(f"{name} at places that depend on the input has no linear stand-in")
