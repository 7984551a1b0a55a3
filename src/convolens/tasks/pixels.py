"""Pictures as networks read them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normalized(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x − mean) / std with x in [0, 1], per channel.

    Args:
        pixels: uint8 0 to 255, or float 0 to 1.
        mean, std: one for each channel, of pixels in [0, 1].
    Shape: pixels (B, C, H, W) -> float32 (B, C, H, W)
    Example:
        >>> normalized(torch.tensor([[[[255]]]], dtype=torch.uint8), [0.5], [0.25])
        tensor([[[[2.]]]])
    """
    centre = torch.tensor(mean, device=pixels.device).view(-1, 1, 1)
    spread = torch.tensor(std, device=pixels.device).view(-1, 1, 1)
    if pixels.is_floating_point():
        return (pixels - centre) / spread
    return torch.addcmul(-centre / spread, pixels.float(), 1 / (255 * spread))
