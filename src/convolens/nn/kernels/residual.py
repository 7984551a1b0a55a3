"""Residual blocks computed by kernels: two 3×3 convolutions as one operation, otherwise the end."""

import ctypes
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convolens.nn.kernels.batch_norm import batch_norm, fits_batch_norm
from convolens.nn.kernels.plain import have_hooks, is_plain
from convolens.nn.kernels.residual_body import residual_body
from convolens.nn.kernels.winograd import fits_conv3x3
from convolens.nn.residual import BasicBlock, Bottleneck, ZeroPadShortcut

# torchvision's blocks have the same parts under the same names, so that ours can compute them;
# they are known by their name, since importing torchvision takes two seconds.
_TORCHVISION = "torchvision.models.resnet"
_NORMS: Mapping[type[nn.Module], str] = {BasicBlock: "bn2", Bottleneck: "bn3"}
# With more, filters and sums leave the second cache no room for what is made of volumes: measured.
MOST_CHANNELS = 256


@dataclass(frozen=True, kw_only=True)
class ResidualBlock:
    """A block that kernels compute: all of it where they can, or its end.

    Args:
        path: of the block in the network.
        block: a block of ours or of torchvision's.
        kind: ours, which has the block's `forward`.
        norm: the name of the block's last batch norm.
    """

    path: str
    block: nn.Module
    kind: type[nn.Module]
    norm: str

    @property
    def chain(self) -> tuple[str, ...]:
        """The paths of the modules that the kernel of the end computes."""
        prefix = f"{self.path}." if self.path else ""
        return f"{prefix}{self.norm}", f"{prefix}relu"

    def apply(self, library: ctypes.CDLL, *, half: bool, half_forward: bool) -> None:
        self.block.join = _Join(  # type: ignore[assignment]
            block=self.block, norm=self.norm, library=library
        )
        self.block.forward = _Forward(
            block=self.block, kind=self.kind, library=library, half=half, half_forward=half_forward
        )
        if self._is_foreign():
            self.block.adds = True  # type: ignore[assignment]

    def undo(self) -> None:
        for name in ("join", "forward", *(("adds",) if self._is_foreign() else ())):
            self.block.__dict__.pop(name, None)

    def _is_foreign(self) -> bool:
        return type(self.block) is not self.kind


def find_residual_blocks(modules: Mapping[str, nn.Module]) -> Iterator[ResidualBlock]:
    """The blocks that add a shortcut, as they compute it in training and in evaluation.

    Args:
        modules: every module of a network by its path.
    """
    for path, block in modules.items():
        kind = _kind_of(block)
        if kind is None or {"forward", "join"} & block.__dict__.keys():
            continue
        if all(map(_is_free, _norm_and_relu(block, _NORMS[kind]))):
            yield ResidualBlock(path=path, block=block, kind=kind, norm=_NORMS[kind])


def _kind_of(block: nn.Module) -> type[nn.Module] | None:
    own = type(block)
    if own in _NORMS:
        return own if block.adds else None
    if own.__module__ != _TORCHVISION:
        return None
    return next((kind for kind in _NORMS if kind.__name__ == own.__name__), None)


def _norm_and_relu(block: nn.Module, norm: str) -> tuple[Any, Any]:
    return getattr(block, norm), block.relu


def _is_free(module: nn.Module) -> bool:
    return type(module) in (nn.BatchNorm2d, nn.ReLU) and "forward" not in module.__dict__


# --- while the network runs ---


@dataclass(eq=False, kw_only=True)
class _Join:
    """The `join` of a block."""

    block: nn.Module
    norm: str
    library: ctypes.CDLL

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Join":
        copied = replace(self)
        memo[id(self)] = copied  # before the block, which leads back to it
        copied.block = deepcopy(self.block, memo)
        return copied

    def __call__(self, volume: Tensor, shortcut: Tensor) -> Tensor:
        norm, relu = _norm_and_relu(self.block, self.norm)
        if _fit(volume, shortcut, norm, relu):
            return batch_norm(volume, norm, self.library, residual=shortcut, activation="relu")
        result: Tensor = relu(norm(volume) + shortcut)
        return result


def _fit(volume: Tensor, shortcut: Tensor, norm: Any, relu: Any) -> bool:
    return (
        (type(norm), type(relu)) == (nn.BatchNorm2d, nn.ReLU)
        and is_plain(volume)
        and is_plain(shortcut)
        and volume.shape == shortcut.shape
        and volume.is_contiguous(memory_format=torch.channels_last)
        and fits_batch_norm(norm, tuple(volume.shape)) is None
        and not have_hooks((norm, relu))
    )


@dataclass(eq=False, kw_only=True)
class _Forward:
    """The `forward` of a block."""

    block: nn.Module
    kind: type[nn.Module]
    library: ctypes.CDLL
    half: bool
    half_forward: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Forward":
        copied = replace(self)
        memo[id(self)] = copied  # before the block, which leads back to it
        copied.block = deepcopy(self.block, memo)
        return copied

    def __call__(self, x: Tensor) -> Tensor:
        if not is_plain(x):
            own: Tensor = type(self.block).forward(self.block, x)
            return own
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        if self.kind is BasicBlock and is_last and self._has_body():
            block: Any = self.block
            between = _shape_after(block.conv1, tuple(x.shape))
            if between and _fits_pair(block.bn1, block.conv2, block.bn2, between, self.library):
                return self._compute_body(x, between)
        result: Tensor = self.kind.forward(self.block, x)
        return result

    def _has_body(self) -> bool:
        """Whether the block's parts are those that `residual_body` computes."""
        block: Any = self.block
        parts = (block.conv1, block.bn1, block.relu, block.conv2, block.bn2)
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d)
        return (
            tuple(map(type, parts)) == kinds
            and torch.is_grad_enabled()
            and block.conv2.weight.requires_grad
            and not have_hooks(parts)
        )

    def _compute_body(self, x: Tensor, between: tuple[int, ...]) -> Tensor:
        block: Any = self.block
        y, shortcut, conv1 = x, None, block.conv1
        if not self._adds_x(x, between) and not self._adds_every_pixel():
            y, conv1 = block.conv1(x), None
            shortcut = x if block.downsample is None else block.downsample(x)
            after = (between[0], block.conv2.out_channels, *between[2:])
            if not (is_plain(y) and is_plain(shortcut) and tuple(shortcut.shape) == after):
                inner = block.conv2(block.relu(block.bn1(y)))
                rest: Tensor = block.join(inner, shortcut)
                return rest
        return residual_body(
            *(y, shortcut, conv1, block.bn1, block.conv2, block.bn2, self.library),
            half=self.half,
            half_forward=self.half_forward,
        )

    def _adds_x(self, x: Tensor, between: tuple[int, ...]) -> bool:
        block: Any = self.block
        same = block.downsample is None and tuple(x.shape) == between
        return same and _fits_conv(block.conv1, between, self.library)

    def _adds_every_pixel(self) -> bool:
        """Whether the shortcut is x between zeros, beside a convolution with the same stride."""
        conv, shortcut = (getattr(self.block, name) for name in ("conv1", "downsample"))
        return (
            type(shortcut) is ZeroPadShortcut
            and not have_hooks((shortcut,))
            and conv.stride == (shortcut.stride, shortcut.stride) != (1, 1)
            and (conv.groups, conv.bias, conv.padding_mode) == (1, None, "zeros")
        )


def _shape_after(conv: nn.Conv2d, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """What a 3×3 convolution with padding 1 makes of a volume; None for any other convolution."""
    if (conv.kernel_size, conv.padding, conv.dilation) != ((3, 3), (1, 1), (1, 1)):
        return None
    sides = ((side - 1) // step + 1 for side, step in zip(shape[2:], conv.stride, strict=True))
    return shape[0], conv.out_channels, *sides


def _fits_pair(
    norm1: nn.BatchNorm2d,
    conv: nn.Conv2d,
    norm2: nn.BatchNorm2d,
    shape: tuple[int, ...],
    library: ctypes.CDLL,
) -> bool:
    """Whether relu(norm1(·)), a convolution and norm2 fit a volume of this shape."""
    after = (shape[0], conv.out_channels, *shape[2:])
    return (
        _fits_conv(conv, shape, library)
        and fits_batch_norm(norm1, shape) is None
        and fits_batch_norm(norm2, after) is None
    )


def _fits_conv(conv: nn.Conv2d, shape: tuple[int, ...], library: ctypes.CDLL) -> bool:
    return (
        conv.bias is None
        and conv.padding == (1, 1)
        and max(conv.in_channels, conv.out_channels) <= MOST_CHANNELS
        and fits_conv3x3(conv, shape, library) is None
    )
