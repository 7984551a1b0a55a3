"""Lets an existing network compute with the kernels, and undoes it.

The network keeps its modules, parameters and state_dict. Where a chain of modules is one kernel,
the first of them computes the whole chain and the others pass its result on.
"""

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.nn.kernels.batch_norm import batch_norm, fits_batch_norm
from convolens.nn.kernels.build import half_precision
from convolens.nn.kernels.chains import ACTIVATIONS, find_chains
from convolens.nn.kernels.conv_half import conv_half, fits_conv_half
from convolens.nn.kernels.conv_pool import conv_pool, fits_conv_pool
from convolens.nn.kernels.linear_half import LinearForward, fits_linear_half
from convolens.nn.kernels.max_pool import fits_max_pool, max_pool
from convolens.nn.kernels.memory import pair
from convolens.nn.kernels.plain import have_hooks, is_plain
from convolens.nn.kernels.residual import find_residual_blocks
from convolens.nn.kernels.winograd import conv3x3, fits_conv3x3

# From here on, a quarter of the products forward outweighs a quarter of them backward.
MANY_CHANNELS = 48


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """What was changed in a network.

    Args:
        chains: the names of the modules of each chain, joined by " + ".
        undo: gives every module its own `forward` back.
    """

    chains: tuple[str, ...]
    undo: Callable[[], None]


def apply_kernels(
    model: nn.Module, library: ctypes.CDLL, *, half: bool = False, half_forward: bool = True
) -> Rewrite:
    """Lets every chain of modules that is one kernel be computed by it, in place.

    Chains are convolution + ReLU + max-pooling, batch norm + ReLU, ReLU6, SiLU or hard-swish, and
    their parts; they are found by `torch.fx`. Of a network that it cannot read, the largest parts
    are taken that it can; their chains are one kernel only while such a part itself is called. A
    residual block, of ours or torchvision's, adds its shortcut between its last batch norm and its
    ReLU, and all three are one kernel; while it learns, the 3×3 convolutions and batch norms of a
    basic block are part of it. A kernel is used for float32 volumes on the CPU, outside of autocast
    and compilation, and while no hook is on a module of its chain; otherwise the modules compute as
    they always did. Gradients of gradients are refused with an error.

    Args:
        library: what `load_library` returned.
        half: whether convolutions are multiplied in the processor's `half_precision`, see `conv3x3`
            and `conv_half`, and with bfloat16 fully connected layers, too; without effect where
            the processor has none.
        half_forward: whether they are so forward, too, not for their gradients alone.
    """
    half = half and half_precision(library) is not None
    modules = dict(model.named_modules())
    blocks = list(find_residual_blocks(modules))
    normalised = {block.chain[:1] for block in blocks}
    chains = [
        found
        for found in find_chains(modules)
        if found.names not in normalised and _is_free(found.names, modules)
    ]
    changed: list[nn.Module] = []
    followers: dict[nn.Module, _Follower] = {}
    parts: dict[str, _Part] = {}
    for found in chains:
        members = [modules[name] for name in found.names]
        if found.part is not None and found.part not in parts:
            part = parts[found.part] = _Part(module=modules[found.part])
            part.module.forward = part
            changed.append(part.module)
        chain = _Chain(
            members=members,
            library=library,
            half=half,
            half_forward=half_forward,
            flat=found.flat,
            normalised=found.normalised,
            part=None if found.part is None else parts[found.part],
        )
        members[0].forward = _Leader(chain)
        changed.append(members[0])
        for module in members[1:]:
            if module not in followers:
                followers[module] = _Follower(module=module)
                module.forward = followers[module]
                changed.append(module)
            followers[module].chains.append(chain)
    for block in blocks:
        block.apply(library, half=half, half_forward=half_forward)
    linear = {
        name: module
        for name, module in modules.items()
        if half and fits_linear_half(module, library)
    }
    for module in linear.values():
        module.forward = LinearForward(module, library, half_forward)
        changed.append(module)

    def undo() -> None:
        for module in changed:
            module.__dict__.pop("forward", None)
        for block in blocks:
            block.undo()

    names = [*(found.names for found in chains), *(block.chain for block in blocks)]
    return Rewrite(chains=(*map(" + ".join, names), *linear), undo=undo)


def _is_free(names: tuple[str, ...], modules: dict[str, nn.Module]) -> bool:
    """Whether nothing of the chain is computed by a kernel already."""
    parent = modules[names[0].rpartition(".")[0]]
    computed = any("forward" in modules[name].__dict__ for name in names)
    return not computed and "join" not in parent.__dict__


# --- while the network runs ---


@dataclass(eq=False, kw_only=True)
class _Part:
    """The `forward` of a part of a network that could be read where the whole could not."""

    module: nn.Module
    running: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.running += 1
        try:
            return type(self.module).forward(self.module, *args, **kwargs)
        finally:
            self.running -= 1


@dataclass(eq=False, kw_only=True)
class _Chain:
    """Modules computed as one; `result` is what the first gave, until the last has passed it on.

    Args:
        part: what must be running for its modules to follow each other; None if they always do.
    """

    members: list[nn.Module]
    library: ctypes.CDLL
    half: bool
    half_forward: bool
    flat: bool
    normalised: bool
    part: _Part | None
    result: Callable[[], Tensor | None] = field(default=lambda: None)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Chain":
        copied = replace(self, members=[], part=None, result=lambda: None)
        memo[id(self)] = copied  # before its members, which lead back to it
        copied.members += deepcopy(self.members, memo)
        copied.part = deepcopy(self.part, memo)
        return copied

    def following(self) -> list[nn.Module]:
        """The members that follow each other in this call, the first at least."""
        whole = self.part is None or self.part.running
        return self.members if whole else self.members[:1]

    def kernel(self, x: Tensor, members: list[nn.Module]) -> Tensor | None:
        """The result of these members, or None where they must compute it themselves."""
        if not is_plain(x) or have_hooks(members):
            return None
        first, shape = members[0], tuple(x.shape)
        relu = any(isinstance(module, nn.ReLU) for module in members)
        pool = next((m for m in members if isinstance(m, nn.MaxPool2d)), None)
        if isinstance(first, nn.Conv2d):
            return self._convolve(x, first, pool, relu)
        if not x.is_contiguous(memory_format=torch.channels_last):
            return None
        if isinstance(first, nn.BatchNorm2d):
            if fits_batch_norm(first, shape):
                return None
            activation = ACTIVATIONS.get(type(members[-1]), "none")
            return batch_norm(x, first, self.library, activation=activation)
        return None if pool is None else self._pool(x, pool, relu)

    def _convolve(
        self, x: Tensor, conv: nn.Conv2d, pool: nn.MaxPool2d | None, relu: bool
    ) -> Tensor | None:
        shape = tuple(x.shape)
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        fast = is_last and not fits_conv3x3(conv, shape, self.library)
        many = fast and conv.in_channels >= MANY_CHANNELS
        if pool is not None and not many and not fits_conv_pool(conv, pool, shape):
            padding = pair(conv.padding)[0]  # type: ignore[arg-type]
            return conv_pool(
                *(x, conv.weight, conv.bias, self.library),
                padding=padding,
                relu=relu,
                channels_last=not self.flat,
            )
        if not is_last or (pool is not None and fits_max_pool(pool, _shape_after(conv, shape))):
            return None
        volume = self._multiply(x, conv, fast)
        return volume if volume is None or pool is None else self._pool(volume, pool, relu)

    def _multiply(self, x: Tensor, conv: nn.Conv2d, fast: bool) -> Tensor | None:
        padding = pair(conv.padding)  # type: ignore[arg-type]
        factors = (x, conv.weight, conv.bias, self.library)
        if fast:
            normalised = self.normalised and conv.training and torch.is_grad_enabled()
            return conv3x3(
                *factors,
                padding=padding[0],
                half=self.half,
                half_forward=self.half_forward,
                normalised=normalised,
            )
        if self.half and not fits_conv_half(conv, tuple(x.shape), self.library):
            stride = pair(conv.stride)[0]
            return conv_half(
                *factors,
                stride=stride,
                padding=(padding[0], padding[1]),
                half_forward=self.half_forward,
            )
        return None

    def _pool(self, x: Tensor, pool: nn.MaxPool2d, relu: bool) -> Tensor | None:
        if fits_max_pool(pool, tuple(x.shape)):
            return None
        size, stride, padding = (pair(v)[0] for v in (pool.kernel_size, pool.stride, pool.padding))
        return max_pool(
            x, self.library, kernel_size=size, stride=stride, padding=padding, relu=relu
        )


def _shape_after(conv: nn.Conv2d, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a convolution makes of a volume; sides of 0 where it has no number of zeros or no
    whole window."""
    sides = [0, 0]
    if not isinstance(conv.padding, str):
        axes = zip(
            *(shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation), strict=True
        )
        with suppress(ShapeError):
            sides = [output_size(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in axes]
    return shape[0], conv.out_channels, *sides


@dataclass(eq=False)
class _Leader:
    """The `forward` of a chain's first module."""

    chain: _Chain

    def __call__(self, x: Tensor) -> Tensor:
        members = self.chain.following()
        out = self.chain.kernel(x, members)
        if out is None and len(members) > 1:
            members = members[:1]  # such as a convolution before a pooling that is no kernel
            out = self.chain.kernel(x, members)
        if out is None:
            own: Tensor = type(members[0]).forward(members[0], x)
            return own
        if len(members) > 1:
            self.chain.result = weakref.ref(out)
        return out


@dataclass(eq=False, kw_only=True)
class _Follower:
    """The `forward` of a module that comes later in one chain or several."""

    module: nn.Module
    chains: list[_Chain] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        for chain in self.chains:
            if chain.result() is x:
                return x
        own: Tensor = type(self.module).forward(self.module, x)
        return own
