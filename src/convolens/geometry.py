"""Sliding-window arithmetic on integers."""

from convolens.errors import ShapeError


def output_size(
    size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Number of positions of a window along one axis: floor((H + 2P − D(K−1) − 1)/S) + 1.

    Source: CS231n, lecture 5; Dumoulin and Visin (2016), arXiv:1603.07285, section 2.
    Args:
        size: H, the length of the axis [px].
        kernel: K, the length of the window [px].
        stride: S, the step from one position to the next [px].
        padding: P, zeros added at each end [px].
        dilation: D, the distance between neighbouring taps of the window [px].
    Returns: the number of positions.
    Raises:
        ShapeError: when a number is out of range or the window is larger than the padded axis.
    Example:
        >>> output_size(227, 11, stride=4)
        55
    """
    for name, value, least in (
        ("size", size, 1),
        ("kernel", kernel, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if value < least:
            raise ShapeError(f"{name} must be at least {least}, received {value}")
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        raise ShapeError(
            f"a window of {dilation * (kernel - 1) + 1} px does not fit into {size} px "
            f"with {padding} px of padding: {size} + 2·{padding} − {dilation}·({kernel} − 1) − 1 "
            f"= {room} < 0"
        )
    return room // stride + 1
