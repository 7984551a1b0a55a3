"""How much a class's score falls when a part of the picture is covered."""

import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.visual.asked import Target, ask, asked, own_input, score_of

_WINDOWS_ACROSS = 7  # of the default window, where the picture allows


def occlusion(
    net: nn.Module,
    pictures: Tensor,
    target: Target = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: Tensor | float = 0.0,
    batch: int = 64,
) -> Tensor:
    """The fall of a class's score, s_c(x) − s_c(x covered), its mean over the covers of each pixel.

    It asks for no gradient, so it suits any network. The network is left exactly as it was found.

    Source: Zeiler and Fergus (2013), Visualizing and understanding convolutional networks,
        arXiv:1311.2901, section 4.2.
    Args:
        net, pictures, target: as for `gradient`.
        window: side of the cover [px]; None is about a seventh of the shorter side, 3 at least.
        stride: from one cover to the next [px]; None is half the window. The last one of a row is
            cut off at the border.
        baseline: what a covered pixel becomes, as the network reads it: a number, or a tensor that
            broadcasts to the pictures.
        batch: the most pictures that go through the network at once.
    Shape: pictures (N, C, H, W) -> (N, H, W)
    Returns: positive where covering makes the class less likely.
    Raises:
        ShapeError: when the window does not fit the picture, or the stride leaves gaps.
        ConfigError: when `batch` is less than 1, or there is no such class.
    """
    if batch < 1:
        raise ConfigError(f"batch must be at least 1, received {batch}")
    own_input(pictures)  # says what is wrong with them
    count, _, height, width = pictures.shape
    side = max(3, min(height, width) // _WINDOWS_ACROSS) if window is None else window
    side = min(side, height, width) if window is None else side
    step = max(1, side // 2) if stride is None else stride
    if not 1 <= side <= min(height, width):
        raise ShapeError(f"a window of {side} px does not fit a picture of {height}×{width} px")
    if not 1 <= step <= side:
        raise ShapeError(f"stride must be from 1 to the window's {side} px, received {step}")
    places = [(y, x) for y in _starts(height, side, step) for x in _starts(width, side, step)]
    cover = torch.as_tensor(baseline, dtype=pictures.dtype, device=pictures.device)
    cover = cover.expand_as(pictures)
    classes, scores = ask(net, pictures, target)
    rows = [(n, y, x) for n in range(count) for y, x in places]
    with asked(net), torch.no_grad():
        falls = torch.zeros(count, height, width, dtype=torch.float64, device=pictures.device)
        times = torch.zeros_like(falls[0])
        for y, x in places:
            times[y : y + side, x : x + side] += 1
        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            which = torch.tensor([n for n, _, _ in part], device=pictures.device)
            covered = pictures[which]
            for row, (n, y, x) in enumerate(part):
                where = slice(y, y + side), slice(x, x + side)
                covered[(row, slice(None), *where)] = cover[(n, slice(None), *where)]
            fall = (scores[which] - score_of(net(covered), classes[which])).double()
            for row, (n, y, x) in enumerate(part):
                falls[n, y : y + side, x : x + side] += fall[row]
    return (falls / times).to(pictures.dtype)


def _starts(length: int, side: int, step: int) -> range:
    """Where covers begin, so that the last reaches the end."""
    return range(0, length - side + step, step)
