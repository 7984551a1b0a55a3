"""The end of a residual block, relu(norm(volume) + shortcut), computed by one kernel."""

import ctypes
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convolens.nn.kernels.batch_norm import batch_norm, fits_batch_norm
from convolens.nn.kernels.plain import have_hooks, is_plain
from convolens.nn.residual import BasicBlock, Bottleneck

# torchvision's blocks have the same parts under the same names, so that ours can compute them;
# they are known by their name, since importing torchvision takes two seconds.
_TORCHVISION = "torchvision.models.resnet"
_NORMS: Mapping[type[nn.Module], str] = {BasicBlock: "bn2", Bottleneck: "bn3"}


@dataclass(frozen=True, kw_only=True)
class ResidualEnd:
    """A block whose end is one kernel.

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
        """The paths of the modules that the kernel computes."""
        prefix = f"{self.path}." if self.path else ""
        return f"{prefix}{self.norm}", f"{prefix}relu"

    def apply(self, library: ctypes.CDLL) -> None:
        join = _Join(block=self.block, norm=self.norm, library=library)
        self.block.join = join  # type: ignore[assignment]
        if self._is_foreign():
            self.block.adds = True  # type: ignore[assignment]
            self.block.forward = _Forward(block=self.block, kind=self.kind)

    def undo(self) -> None:
        for name in ("join", "adds", "forward") if self._is_foreign() else ("join",):
            self.block.__dict__.pop(name, None)

    def _is_foreign(self) -> bool:
        return type(self.block) is not self.kind


def find_residual_ends(modules: Mapping[str, nn.Module]) -> Iterator[ResidualEnd]:
    """The blocks that add a shortcut, as they compute it in training and in evaluation.

    Args:
        modules: every module of a network by its path.
    """
    for path, block in modules.items():
        kind = _kind_of(block)
        if kind is None or {"forward", "join"} & block.__dict__.keys():
            continue
        if all(map(_is_free, _norm_and_relu(block, _NORMS[kind]))):
            yield ResidualEnd(path=path, block=block, kind=kind, norm=_NORMS[kind])


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


@dataclass(eq=False, kw_only=True)
class _Join:
    """The `join` of a block."""

    block: nn.Module
    norm: str
    library: ctypes.CDLL

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Join":
        copied = _Join(block=self.block, norm=self.norm, library=self.library)
        memo[id(self)] = copied  # before the block, which leads back to it
        copied.block = deepcopy(self.block, memo)
        return copied

    def __call__(self, volume: Tensor, shortcut: Tensor) -> Tensor:
        norm, relu = _norm_and_relu(self.block, self.norm)
        if _fit(volume, shortcut, norm, relu):
            return batch_norm(volume, norm, self.library, residual=shortcut, relu=True)
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
    """The `forward` of a block of torchvision: our own one, with its `join`."""

    block: nn.Module
    kind: type[nn.Module]

    def __call__(self, x: Tensor) -> Tensor:
        kind = self.kind if is_plain(x) else type(self.block)
        result: Tensor = kind.forward(self.block, x)
        return result
