"""Fully connected layers whose products are taken in bfloat16, by PyTorch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# With fewer, the turning of numbers into bfloat16 costs more than it saves: measured.
LEAST_FEATURES = 64
LEAST_ROWS = 64


def fits_linear_half(module: nn.Module) -> bool:
    """Whether a module is a fully connected layer that may gain, where many rows come at once."""
    return (
        type(module) is nn.Linear
        and "forward" not in module.__dict__
        and min(module.in_features, module.out_features) >= LEAST_FEATURES
    )


@dataclass(eq=False)
class LinearHalf:
    """The `forward` of a fully connected layer: float32 in and out."""

    module: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        own = type(self.module).forward
        plain = x.dtype == torch.float32 and x.device.type == "cpu"
        if not plain or x.numel() < LEAST_ROWS * x.shape[-1] or torch.is_autocast_enabled("cpu"):
            return own(self.module, x)  # type: ignore[no-any-return]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return own(self.module, x).float()  # type: ignore[no-any-return]
