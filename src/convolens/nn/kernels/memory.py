"""What the kernels need to know about tensors."""

import ctypes
from typing import Any

import torch
from torch import Tensor

# Every part has partial sums of its own, so results do not depend on which thread does which part.
LEAST_PARTS = 8


def pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def largest(weight: Tensor) -> float:
    """The largest |w| of filters; channels-last ones lie in memory in the order that is read."""
    low, high = torch.aminmax(weight.detach().permute(0, 2, 3, 1).flatten())
    return max(-float(low), float(high))


def counted(count: Any, job: ctypes.Structure) -> int:
    """What this function of the library counts for a job."""
    count.restype = ctypes.c_int64
    return int(count(ctypes.byref(job)))


def scratch(count: Any, job: ctypes.Structure) -> Tensor:
    """Memory for a job: as many floats as this function of the library counts."""
    return torch.empty(counted(count, job))


def keep_sums(volume: Tensor, sums: Tensor) -> None:
    """Lets a normalisation of this very volume know the sums that it would have to take.

    Args:
        sums: (num_sums, 4, C), as `enum sums` of simd.h says.
    """
    volume._convolens_sums = sums, volume._version  # type: ignore[attr-defined]


def sums_of(volume: Tensor) -> Tensor | None:
    """What `keep_sums` kept, unless the volume was changed since."""
    sums, version = getattr(volume, "_convolens_sums", (None, None))
    return sums if sums is not None and version == volume._version else None


def layout_of(volume: Tensor) -> torch.memory_format:
    """channels_last where the values lie so, else contiguous."""
    if volume.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def num_parts(count: int) -> int:
    """Into how many parts `count` things are cut: the same for any number of threads up to 4."""
    return min(count, max(LEAST_PARTS, 2 * torch.get_num_threads()))


def pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """A size along both axes, where a module may hold one number for both."""
    return (value, value) if isinstance(value, int) else tuple(value)
