"""The smallest input from which layers give a volume of a known side."""

from collections.abc import Sequence

from convolens.models.notation.tree import Item, Layer, Repeat

SLIDING = ("conv", "dwconv", "maxpool", "avgpool")


def smallest_side(items: Sequence[Item], side: int) -> int | None:
    """The smallest side of an input from which the items give `side` pixels.

    Args:
        items: layers with axes, none of them a flatten or what needs one.
        side: along the first axis, of the volume behind them [px].
    Returns: the side [px], or None where adaptive pooling makes any side do.
    Example:
        >>> from convolens.models.notation.parser import parse
        >>> smallest_side(parse("conv 96 11x11 /4 | maxpool 3x3 /2").items, 27)
        227
    """
    need: int | None = side
    for item in reversed(items):
        if isinstance(item, Repeat):
            for _ in range(item.count):
                need = None if need is None else smallest_side(item.items, need)
        elif isinstance(item, Layer):
            need = _before(item, need or 1)
        else:
            need = smallest_side(item.branches[0], need or 1)
        if need is None:
            return None
    return need


def _before(layer: Layer, need: int) -> int | None:
    """The smallest side before a layer that gives `need` behind it."""
    if layer.word.startswith("adaptive"):
        return None
    usual = 2 if layer.word.endswith("pool") else 3
    window = layer.window[0] if layer.window else usual
    stride = layer.stride[0] if layer.stride else (window if layer.word.endswith("pool") else 1)
    dilation = layer.dilation[0] if layer.dilation else 1
    span = dilation * (window - 1) + 1
    padding = layer.padding[0] if layer.padding and not isinstance(layer.padding, str) else 0
    if layer.word in SLIDING:
        if layer.padding == "same" or (layer.word.endswith("conv") and not layer.window):
            return (need - 1) * stride + 1
        left_over = stride - 1 if "ceil" in layer.flags else 0
        return max(1, (need - 1) * stride + span - 2 * padding - left_over)
    if layer.word == "deconv":
        added = layer.output_padding[0] if layer.output_padding else 0
        return max(1, -(-(need + 2 * padding - span - added) // stride) + 1)
    if layer.word in ("upsample", "bilinear"):
        factor = layer.numbers[0] if layer.numbers else 2
        return -(-need // factor) if isinstance(factor, int) else need
    if layer.word in ("residual", "bottleneck"):
        return (need - 1) * stride + 1
    return 2 * need if layer.word == "transition" else need
