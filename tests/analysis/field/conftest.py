"""The oracle of receptive fields: the extent of the gradient, of a network made smooth.

A gradient misses a pixel where a maximum picks another one, where a rectifier is shut, or where a
saturated gate has no slope. So the oracle's network reads the same pixels through sums: a maximum
is the sum over its window, a rectifier is the identity, a gate is x/(1 + |x|), and attention is the
mean over its keys. With weights above 0 and in double precision no gradient then is 0 by accident.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def window_sum(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The sum over the windows of a max-pooling with the same arguments."""
    axes = x.dim() - 2

    def several(option: Any) -> tuple[int, ...]:
        return (option,) * axes if isinstance(option, int) else tuple(option)

    kernel, padding, dilation = several(kernel_size), several(padding), several(dilation)
    stride = several(stride) if stride else kernel
    pool = getattr(F, f"max_pool{axes}d")
    after = pool(x.detach(), kernel, stride, padding, dilation, ceil_mode).shape[2:]
    # With ceil_mode the last window may hang over the border; there it reads zeros.
    pads = [
        side
        for p, k, d, s in zip(padding, kernel, dilation, stride, strict=True)
        for side in (p + d * k + s, p)
    ]
    weight = x.new_ones(x.shape[1], 1, *kernel)
    padded = F.pad(x, pads[::-1])
    options = {"stride": stride, "dilation": dilation, "groups": x.shape[1]}
    result = CONVOLUTIONS[axes](padded, weight, **options)
    return result[(..., *[slice(0, n) for n in after])]


def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """Every row reads its query, all keys and all values."""
    return q.mean(-1, True) + k.mean((-1, -2), True) + v.mean(-2, True)


def soften(x: Tensor, dim: int = -1, *_: Any, **__: Any) -> Tensor:
    return x + x.mean(dim, keepdim=True)


def same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def bounded(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x / (1 + x.abs())


def batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """In use, by hand: PyTorch 2.15 misplaces its gradient where that is not contiguous."""
    if training or mean is None or var is None:
        return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    shape = (1, -1, *[1] * (x.dim() - 2))
    scale = (var + eps).rsqrt() * (1.0 if weight is None else weight)
    shift = -mean * scale + (0.0 if bias is None else bias)
    return x * scale.reshape(shape) + shift.reshape(shape)


SMOOTH: Mapping[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu_), same),
    **dict.fromkeys((F.relu6, F.hardtanh, F.hardtanh_, F.hardswish, F.gelu, F.silu), same),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_, F.elu, F.elu_, F.mish, F.selu, F.prelu), same),
    **dict.fromkeys((torch.clamp, Tensor.clamp, Tensor.clamp_), same),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, Tensor.sigmoid, Tensor.sigmoid_), bounded),
    **dict.fromkeys((F.hardsigmoid, torch.tanh, Tensor.tanh), bounded),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), soften),
    F.batch_norm: batch_norm,
    F.scaled_dot_product_attention: attention,
    F.adaptive_max_pool2d: lambda x, size, return_indices=False: F.adaptive_avg_pool2d(x, size),
}
POOLS = frozenset({F.max_pool1d, F.max_pool2d, F.max_pool3d})


class Smooth(TorchFunctionMode):
    """While it is entered, whatever may have no slope is a sum of what it reads."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in POOLS:
            kwargs.pop("return_indices", None)
            return window_sum(*args, **kwargs)
        if func in SMOOTH:
            kwargs.pop("inplace", None)
            return SMOOTH[func](*args, **kwargs)
        return func(*args, **kwargs)


def positive(net: nn.Module) -> nn.Module:
    """The network in double precision with random weights above 0 that keep sizes as they are."""
    net = net.to_empty(device="cpu").double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in net.parameters():
        fan_in = max(tensor[0].numel(), 1) if tensor.dim() > 1 else 1
        tensor.uniform_(0.5 / fan_in, 1.5 / fan_in, generator=generator)
    for name, tensor in net.named_buffers():
        if tensor.is_floating_point():
            tensor.fill_(0.0 if name.endswith("mean") else 1.0)
        else:
            tensor.zero_()
    return net


def extent(gradient: Tensor, axes: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """First and last position along each axis at which a gradient is not 0."""
    read = gradient.detach().numpy() != 0
    ends = []
    for axis in axes:
        others = tuple(a for a in range(read.ndim) if a != axis)
        at = np.flatnonzero(read.any(others))
        if not at.size:
            return None
        ends.append((int(at[0]), int(at[-1])))
    return tuple(ends)


def all_extents(net: nn.Module, x: Tensor) -> NDArray[np.int32]:
    """(axes, 2, *output): the extent of the gradient of every element of the output."""
    x = x.clone().requires_grad_()
    with Smooth():
        output = net(x)
    axes = tuple(range(2, x.dim()))
    result = np.zeros((len(axes), 2, output.numel()), dtype=np.int32)
    result[:, 1] = -1
    if output.requires_grad:
        for number, unit in enumerate(output.flatten()):
            (gradient,) = torch.autograd.grad(unit, x, retain_graph=True)
            found = extent(gradient, axes)
            if found is not None:
                result[:, :, number] = found
    return result.reshape(len(axes), 2, *output.shape)


class Oracle:
    """What the tests of this folder compare with."""

    Smooth = Smooth
    all_extents = staticmethod(all_extents)
    extent = staticmethod(extent)
    positive = staticmethod(positive)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    return Oracle
