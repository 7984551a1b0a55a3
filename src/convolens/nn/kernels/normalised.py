"""Values that a kernel makes when it reads them: normalised.h."""

import ctypes
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from convolens.nn.kernels.memory import pointer
from convolens.nn.kernels.norm_passes import Slope, Statistics


class Source(ctypes.Structure):
    """`struct source` of normalised.h, field for field."""

    AS_IS, NORMALISED, DIFFERENTIATED = range(3)
    _fields_: ClassVar = [
        ("kind", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("factors", "x", "mean", "mask")),
    ]


class Gate(ctypes.Structure):
    """`struct gate` of normalised.h, field for field."""

    _fields_: ClassVar = [(name, ctypes.c_void_p) for name in ("x", "factors", "mean")]


class Addend(ctypes.Structure):
    """`struct addend` of normalised.h, field for field."""

    _fields_: ClassVar = [(name, ctypes.c_void_p) for name in ("volume", "mask")]


@dataclass(frozen=True)
class Normalised:
    """relu(a·x + b) of a volume that lies in memory as x, channels-last."""

    x: Tensor
    statistics: Statistics

    def as_source(self) -> Source:
        return Source(Source.NORMALISED, pointer(self.statistics.factors))

    def as_gate(self) -> Gate:
        found = self.statistics
        return Gate(*map(pointer, (self.x, found.factors, found.mean)))


@dataclass(frozen=True)
class Differentiated:
    """The gradient of x, which lies in memory as that of x normalised.

    Args:
        mask: what the ReLU after the normalisation let through, where that is still to be applied.
    """

    x: Tensor
    statistics: Statistics
    slope: Slope
    mask: Tensor | None = None

    def as_source(self) -> Source:
        tensors = (self.slope.factors, self.x, self.statistics.mean, self.mask)
        return Source(Source.DIFFERENTIATED, *map(pointer, tensors))
