"""The side of a network's last map, or why a picture is too small for the network."""

from collections.abc import Sequence
from typing import NamedTuple

from convolens.errors import ShapeError


def check_side(image_size: int) -> None:
    """Raises ShapeError where there is no picture; for networks that take every size."""
    if image_size < 1:
        raise ShapeError(f"a picture of {image_size} px does not fit: expected at least 1 px")


class Window(NamedTuple):
    """A layer that slides a window over a square map.

    Args:
        layer: its name in the network.
        kernel: K, the side of the window [px].
        stride: S, the step of the window [px].
        padding: P, zeros at each end [px].
        ceil_mode: whether a last window that is partly outside counts, as in Caffe's pooling.
    """

    layer: str
    kernel: int
    stride: int = 1
    padding: int = 0
    ceil_mode: bool = False

    @property
    def room(self) -> int:
        """What is added to the side before it is divided by the stride."""
        return 2 * self.padding - self.kernel + (self.stride - 1 if self.ceil_mode else 0)

    def positions(self, side: int) -> int:
        """How many there are on a map of that side."""
        count = (side + self.room) // self.stride + 1
        begins = (count - 1) * self.stride - self.padding
        return count - 1 if begins >= side else count  # a window has to begin on the map


def side_after(image_size: int, windows: Sequence[Window]) -> int:
    """Side of the map behind the windows: floor((H + 2P − K)/S) + 1 for each, or the ceiling.

    Args:
        image_size: side of the square picture [px].
        windows: the layers in their order.
    Returns: the side [px].
    Raises:
        ShapeError: when a window does not fit; the message holds the sides up to there.
    Example:
        >>> side_after(227, [Window("conv1", 11, stride=4), Window("pool1", 3, stride=2)])
        27
    """
    sides = [image_size]
    for window in windows:
        if sides[-1] + window.room < 0:
            way = " → ".join(
                [f"{image_size}"]
                + [f"{w.layer} {side}" for w, side in zip(windows, sides[1:], strict=False)]
            )
            raise ShapeError(
                f"a picture of {image_size} px does not fit: {window.layer} reads "
                f"{window.kernel} px and gets {sides[-1]} px ({way})",
                f"The smallest picture is {_smallest(windows)} px.",
            )
        sides.append(window.positions(sides[-1]))
    return sides[-1]


def _smallest(windows: Sequence[Window]) -> int:
    need = 1
    for window in reversed(windows):
        last = (need - 1) * window.stride
        need = max(1, last - window.room, last - window.padding + 1 if window.ceil_mode else 1)
    return need
