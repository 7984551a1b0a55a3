"""Names of PyTorch's operations by what they do to the places of elements."""

from collections.abc import Callable, Mapping

from convolens.analysis.field.arguments import Arguments
from convolens.analysis.graph import Ref

# The same elements in the same order, in another shape or none.
RESHAPES = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten"),
        *("alias", "detach", "clone", "contiguous", "_to_copy", "lift_fresh", "lift", "to"),
        *("unflatten", "lift_fresh_copy", "view_copy", "alias_copy"),
    }
)
SPLITS = frozenset({"split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"})
# A tensor of a shape, whatever is in the one that the shape is of.
MAKERS = frozenset(
    {
        *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
        *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "zero"),
        *("normal", "uniform", "bernoulli", "random", "exponential", "_local_scalar_dense"),
    }
)
# Everything is written over by the second argument.
FILLS = frozenset({"copy", "fill"})
SOFTMAXES = frozenset({"softmax", "_softmax", "_log_softmax", "log_softmax", "_safe_softmax"})
REDUCTIONS = frozenset(
    {
        *("mean", "sum", "amax", "amin", "prod", "var", "std", "logsumexp", "argmax", "argmin"),
        *("max", "min", "any", "all", "median", "nansum", "nanmean", "aminmax"),
        *("var_mean", "std_mean", "linalg_vector_norm", "norm", "count_nonzero", "mode"),
    }
)
PADDINGS = frozenset(
    {
        "constant_pad_nd",
        *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
    }
)


def reduced_axes(given: Arguments) -> tuple[int, ...]:
    """The axes that a reduction takes together."""
    return given.axes(2 if given.name in ("linalg_vector_norm", "norm") else 1)


def _by_flag(given: Arguments) -> bool:
    flag = 3 if not isinstance(given.get(3), Ref) and given.get(3) is not None else 5
    return bool(given.get(flag)) or given.get(3) is None


# Whether a batch norm, as it is called, takes its statistics from the picture.
BATCH_NORMS: Mapping[str, Callable[[Arguments], bool]] = {
    "native_batch_norm": _by_flag,
    "cudnn_batch_norm": _by_flag,
    "miopen_batch_norm": _by_flag,
    "_native_batch_norm_legit": _by_flag,
    "_native_batch_norm_legit_functional": _by_flag,
    "_native_batch_norm_legit_no_training": lambda _: False,
    "_batch_norm_no_update": lambda _: False,
    "_batch_norm_with_update": lambda _: True,
}
