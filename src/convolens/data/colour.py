"""Colour changes on a whole batch of float pictures, given one number per picture.

The definitions are those of Pillow's ImageEnhance and of torchvision's `adjust_*` on floats.
"""

import torch
from torch import Tensor

# Rec. 601 luma, as Pillow and torchvision round it.
_LUMA = (0.2989, 0.587, 0.114)


def adjust_brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Multiplies by the factor: clip(f·x, 0, 1).

    Args:
        pixels: float, 0..1.
        factor: at least 0; 1 changes nothing.
    Shape:   pixels (B, C, H, W), factor (B,) -> (B, C, H, W)
    Returns: pixels, 0..1.
    """
    return (pixels * _per_picture(factor, pixels)).clamp_(0, 1)


def adjust_contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Moves every value away from the picture's mean grey m: clip(m + f·(x − m), 0, 1).

    Args:
        pixels: float, 0..1.
        factor: at least 0; 1 changes nothing, 0 leaves even grey.
    Shape:   pixels (B, C, H, W), factor (B,) -> (B, C, H, W)
    Returns: pixels, 0..1.
    """
    mean = grey(pixels).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, _per_picture(factor, pixels)).clamp_(0, 1)


def adjust_saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Moves every pixel away from its own grey g: clip(g + f·(x − g), 0, 1).

    Pictures that are not RGB have no saturation and come back as they are.

    Args:
        pixels: float, 0..1.
        factor: at least 0; 1 changes nothing, 0 leaves a grey picture.
    Shape:   pixels (B, C, H, W), factor (B,) -> (B, C, H, W)
    Returns: pixels, 0..1.
    """
    if pixels.shape[1] != 3:
        return pixels
    return torch.lerp(grey(pixels), pixels, _per_picture(factor, pixels)).clamp_(0, 1)


def adjust_hue(pixels: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue of every pixel in HSV, where value and chroma stay what they are.

    Pictures that are not RGB have no hue and come back as they are.

    Args:
        pixels: float, 0..1.
        turn: in whole turns of the colour circle; 0.5 gives the complementary colours.
    Shape:   pixels (B, C, H, W), turn (B,) -> (B, C, H, W)
    Returns: pixels, 0..1.
    """
    if pixels.shape[1] != 3:
        return pixels
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    # Greys have no hue; dividing by 1 instead of 0 leaves them at hue 0 with chroma 0.
    divisor = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sextant = sextant + 6 * turn.to(pixels.dtype)[:, None, None]
    # HSV to RGB in closed form: channel n is V − C·clip(min(k, 4 − k), 0, 1), k = (n + H) mod 6.
    channels = []
    for offset in (5, 3, 1):
        k = (sextant + offset).remainder(6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, dim=1).clamp_(0, 1)


def grey(pixels: Tensor) -> Tensor:
    """The luma of RGB pictures, (B, 1, H, W); other pictures come back as they are."""
    if pixels.shape[1] != 3:
        return pixels
    red, green, blue = pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _per_picture(number: Tensor, pixels: Tensor) -> Tensor:
    """One number per picture, shaped to multiply with the pictures."""
    return number.to(pixels.dtype).view(-1, 1, 1, 1)
