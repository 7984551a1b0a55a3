"""Kernels in C for layers where PyTorch's own waste the processor; see docs/kernels.md."""

from convolens.nn.kernels.allocator import keep_freed_memory
from convolens.nn.kernels.batch_norm import batch_norm, fits_batch_norm
from convolens.nn.kernels.build import half_precision, load_library, why_unavailable
from convolens.nn.kernels.conv_half import conv_half, fits_conv_half
from convolens.nn.kernels.conv_pool import conv_pool, fits_conv_pool
from convolens.nn.kernels.max_pool import fits_max_pool, max_pool
from convolens.nn.kernels.rewrite import Rewrite, apply_kernels
from convolens.nn.kernels.winograd import conv3x3, fits_conv3x3

__all__ = [
    "Rewrite",
    "apply_kernels",
    "batch_norm",
    "conv3x3",
    "conv_half",
    "conv_pool",
    "fits_batch_norm",
    "fits_conv3x3",
    "fits_conv_half",
    "fits_conv_pool",
    "fits_max_pool",
    "half_precision",
    "keep_freed_memory",
    "load_library",
    "max_pool",
    "why_unavailable",
]
