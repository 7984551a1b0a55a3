"""Multiply-accumulates and floating-point operations of each operation.

A multiply-accumulate (MAC) is one product added to a sum, in convolutions and matrix products; it
is two floating-point operations (FLOPs). Every other operation has FLOPs only: a sum, product,
comparison or elementary function (exp, tanh, …) of one number is one. Moving, viewing and filling
memory is none. docs/graph.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from convolens.analysis.graph import Operation, Ref, Trace


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation costs, for the whole batch.

    Args:
        macs: multiply-accumulates.
        flops: floating-point operations, those of the MACs included.
    """

    macs: int
    flops: int


FREE_COST = Cost(0, 0)
Rule = Callable[[Operation, Trace], Cost]


def cost_of(operation: Operation, trace: Trace) -> Cost | None:
    """The cost of an operation; None where there is no rule for it."""
    if not operation.inputs and not operation.outputs:
        return FREE_COST  # a question to PyTorch, such as which type two others make
    if operation.name == "torchvision.roi_align":
        return _roi_align(operation, trace)
    namespace, _, name = operation.name.partition(".")
    if namespace not in ("aten", "prims", "convolens"):
        return None
    name = name.rstrip("_") if name.endswith("_") and not name.startswith("__") else name
    if name in FREE:
        return FREE_COST
    types = [trace.values[value].dtype for value in operation.inputs]
    if any(dtype.is_complex for dtype in types):
        return None
    if not any(dtype.is_floating_point for dtype in types):
        return FREE_COST  # whole numbers and truth values
    rule = RULES.get(name)
    if rule is not None:
        return rule(operation, trace)
    if name in PER_OUTPUT:
        return Cost(0, PER_OUTPUT[name] * _outputs(operation, trace))
    if name in PER_INPUT:
        return Cost(0, PER_INPUT[name] * _size(trace, operation.inputs[0]))
    return None


def _size(trace: Trace, value: int) -> int:
    return prod(trace.values[value].shape)


def _outputs(operation: Operation, trace: Trace) -> int:
    return _size(trace, operation.outputs[0])


def _shapes(operation: Operation, trace: Trace) -> list[tuple[int, ...]]:
    return [trace.values[value].shape for value in operation.inputs]


def _product(macs: int, sums: int = 0) -> Cost:
    return Cost(macs, 2 * macs + sums)


def _convolution(operation: Operation, trace: Trace) -> Cost:
    """C_in/G · K products for every output; transposed, C_out/G · K for every input."""
    x, weight = _shapes(operation, trace)[:2]
    transposed = bool(operation.args[6]) if len(operation.args) > 6 else False
    outputs = _outputs(operation, trace)
    macs = (prod(x) if transposed else outputs) * prod(weight[1:])
    has_bias = len(operation.args) > 2 and isinstance(operation.args[2], Ref)
    return _product(macs, outputs if has_bias else 0)


def _matrix_product(operation: Operation, trace: Trace) -> Cost:
    """(…, n, k) by (…, k, m): every output sums k products."""
    return _product(_outputs(operation, trace) * _shapes(operation, trace)[0][-1])


def _added_matrix_product(operation: Operation, trace: Trace) -> Cost:
    outputs = _outputs(operation, trace)
    return _product(outputs * _shapes(operation, trace)[1][-1], outputs)


def _attention(operation: Operation, trace: Trace) -> Cost:
    """softmax(q kᵀ · scale) v: two products, and six operations for every score."""
    q, k, v = _shapes(operation, trace)[:3]
    scores = prod(q[:-1]) * k[-2]
    return _product(scores * (q[-1] + v[-1]), 6 * scores)


def _max_pool(operation: Operation, trace: Trace) -> Cost:
    """K − 1 comparisons for every output."""
    return Cost(0, _outputs(operation, trace) * (_window(operation, trace) - 1))


def _average_pool(operation: Operation, trace: Trace) -> Cost:
    """K − 1 sums and one division for every output."""
    return Cost(0, _outputs(operation, trace) * _window(operation, trace))


def _window(operation: Operation, trace: Trace) -> int:
    kernel = operation.args[1]
    axes = len(trace.values[operation.outputs[0]].shape) - 2
    sides = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    return prod(sides) if len(sides) > 1 else prod(sides * axes)


def _adaptive_pool(operation: Operation, trace: Trace) -> Cost:
    """Window by window, which overlap where the sizes do not divide."""
    x = trace.values[operation.inputs[0]].shape
    out = trace.values[operation.outputs[0]].shape
    axes = len(out) - 2 if len(out) > 2 else 1
    reads = 1
    for size, positions in zip(x[-axes:], out[-axes:], strict=True):
        reads *= sum(
            -(-(i + 1) * size // positions) - i * size // positions for i in range(positions)
        )
    return Cost(0, prod(out[:-axes]) * reads)


def _batch_norm(operation: Operation, trace: Trace) -> Cost:
    """In use a factor and a shift for every value; in training the statistics too."""
    training = len(operation.args) > 5 and operation.args[5] is True
    return Cost(0, (7 if training else 2) * _outputs(operation, trace))


def _norm(operation: Operation, trace: Trace) -> Cost:
    """Mean 1, variance 3, normalisation 2, factor and shift 1 each, for every value."""
    has_weight = sum(isinstance(a, Ref) for a in operation.args) > 1
    return Cost(0, (8 if has_weight else 6) * _outputs(operation, trace))


def _reduction(operation: Operation, trace: Trace) -> Cost:
    size = _size(trace, operation.inputs[0])
    return Cost(0, size - _outputs(operation, trace))


def _roi_align(operation: Operation, trace: Trace) -> Cost | None:
    """For every output s × s bilinear interpolations and their mean; None where s is by region."""
    points = int(operation.args[5]) ** 2 if operation.args[5] > 0 else 0
    taps = 4
    return Cost(0, 2 * taps * points * _outputs(operation, trace)) if points else None


def _interpolation(taps: int) -> Rule:
    def rule(operation: Operation, trace: Trace) -> Cost:
        return Cost(0, (2 * taps - 1) * _outputs(operation, trace))

    return rule


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "mm": _matrix_product,
    "bmm": _matrix_product,
    "matmul": _matrix_product,
    "mv": _matrix_product,
    "dot": _matrix_product,
    "linear": _matrix_product,
    "addmm": _added_matrix_product,
    "addmv": _added_matrix_product,
    "addbmm": _added_matrix_product,
    "baddbmm": _added_matrix_product,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "max_pool1d_with_indices": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "avg_pool3d": _average_pool,
    "adaptive_avg_pool1d": _adaptive_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "_adaptive_avg_pool3d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "adaptive_max_pool3d": _adaptive_pool,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_layer_norm": _norm,
    "native_group_norm": _norm,
    "_fused_rms_norm": _norm,
    "sum": _reduction,
    "prod": _reduction,
    "amax": _reduction,
    "amin": _reduction,
    "max": _reduction,
    "min": _reduction,
    "argmax": _reduction,
    "argmin": _reduction,
    "upsample_linear1d": _interpolation(2),
    "upsample_bilinear2d": _interpolation(4),
    "_upsample_bilinear2d_aa": _interpolation(4),
    "upsample_trilinear3d": _interpolation(8),
    "upsample_bicubic2d": _interpolation(16),
    "grid_sampler_2d": _interpolation(4),
    "grid_sampler_3d": _interpolation(8),
}

_ONE = """
    add sub rsub mul div neg abs reciprocal square sqrt rsqrt exp expm1 exp2 log log1p log2 log10
    sin cos tan asin acos atan atan2 sinh cosh tanh erf erfc sigmoid pow relu maximum minimum
    clamp_min clamp_max floor ceil round trunc sign remainder fmod eq ne lt le gt ge cumsum cumprod
    isnan isinf isfinite bernoulli
"""
_TWO = """
    clamp hardtanh relu6 leaky_relu prelu _prelu_kernel silu glu lerp native_dropout
"""
_THREE = """
    addcmul addcdiv elu celu selu threshold softplus hardsigmoid log_sigmoid log_sigmoid_forward
    logit
"""
_FOUR = "hardswish mish"
_FIVE = "gelu _softmax _log_softmax _safe_softmax"
# Operations for every number of the result.
PER_OUTPUT: dict[str, int] = {
    name: count
    for count, names in enumerate((_ONE, _TWO, _THREE, _FOUR, _FIVE), start=1)
    for name in names.split()
}
# Operations for every number that is read.
PER_INPUT: dict[str, int] = {
    "mean": 1,
    "var": 4,
    "std": 4,
    "var_mean": 4,
    "std_mean": 4,
    "norm": 2,
    "linalg_vector_norm": 2,
    "logsumexp": 4,
}

_MOVING = """
    view reshape _unsafe_view _reshape_alias t transpose permute unsqueeze squeeze expand detach
    alias slice select narrow split split_with_sizes unsafe_split
    unsafe_split_with_sizes unbind unfold as_strided diagonal cat stack
    repeat repeat_interleave flip roll rot90 clone copy _to_copy to lift lift_fresh lift_fresh_copy
    fill zero empty empty_like new_empty empty_strided new_empty_strided zeros zeros_like new_zeros
    ones ones_like new_ones full full_like new_full arange linspace eye scalar_tensor rand
    rand_like randn randn_like randint randperm uniform normal index index_select gather scatter
    scatter_add index_put index_add index_copy masked_fill masked_select masked_scatter take
    embedding where tril triu nonzero sort topk argsort constant_pad_nd reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle col2im im2col
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d _local_scalar_dense item equal any all
    view_as_real view_as_complex real imag resize overwrite max_unpool2d max_unpool3d
    slice_scatter select_scatter bucketize searchsorted _unique2 bitwise_and bitwise_or
    bitwise_not logical_and logical_or logical_not
"""
# Memory is moved, viewed, filled or asked about; nothing is computed.
FREE: frozenset[str] = frozenset(_MOVING.split())
