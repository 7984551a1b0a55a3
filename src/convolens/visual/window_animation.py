"""A window that slides over its input, as a small animation."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from convolens.errors import ShapeError
from convolens.geometry import output_size
from convolens.visual.figure import Pixels
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    FRAME,
    GRID,
    MARGIN_PX,
    PAPER,
    SMALL_PX,
    SOFT,
    VERMILLION,
    Colour,
)
from convolens.visual.text import measure, write

MOST_FRAMES = 64
_GRID_PX = 336
_LARGEST_CELL_PX = 32
_LEAST_LINED_PX = 4
_COLOURS = 32
_FRAME_MS = 220
_DONE: Colour = (170, 208, 234)
_TITLE_ROW_PX = 36


@dataclass(frozen=True, kw_only=True)
class Window:
    """A sliding window: rows and columns of kernel K, stride S, padding P and dilation D."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class Animation:
    """Pictures shown one after the other.

    Args:
        name: a file-system-safe noun.
        caption: what to look for.
        frames: uint8 (H, W, 3) each.
        positions: the (row, column) of the output that each frame shows.
        frame_ms: how long each is shown [ms].
    """

    name: str
    caption: str
    frames: tuple[Pixels, ...]
    positions: tuple[tuple[int, int], ...]
    frame_ms: int


def window_animation(size: tuple[int, int], window: Window, title: str = "window") -> Animation:
    """Draws a window at each of its positions: the taps it reads, and the output it fills.

    Padding is grey, and taps are blue, or vermillion where they read padding. Of more than 64
    positions, 64 evenly spread ones are drawn.

    Args:
        size: (H, W) of the input.
        window: kernel, stride, padding and dilation.
        title: what slides.
    Returns: the animation; `gif_bytes` encodes it.
    Raises:
        ShapeError: when the window does not fit.
    Example:
        >>> window_animation((5, 5), Window(kernel=(3, 3), stride=(2, 2))).positions
        ((0, 0), (0, 1), (1, 0), (1, 1))
    """
    if len(size) != 2 or min(*window.padding) < 0:
        raise ShapeError(f"a window slides over (H, W) with padding from 0, received {size}")
    rows, cols = (
        output_size(
            size[axis],
            window.kernel[axis],
            stride=window.stride[axis],
            padding=window.padding[axis],
            dilation=window.dilation[axis],
        )
        for axis in (0, 1)
    )
    count = rows * cols
    numbers = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
    positions = tuple((int(n) // cols, int(n) % cols) for n in numbers)
    frames = tuple(_draw(size, window, (rows, cols), position, title) for position in positions)
    some = f"{len(positions)} of its {count}" if len(positions) < count else f"all {count}"
    caption = (
        f"{title}: {_words(window)} on {size[0]}×{size[1]} px at {some} positions, giving "
        f"{rows}×{cols}. Watch how far it steps, and where it reads padding (vermillion)."
    )
    return Animation(
        name="window", caption=caption, frames=frames, positions=positions, frame_ms=_FRAME_MS
    )


def gif_bytes(animation: Animation) -> bytes:
    """Encodes an animation as GIF that repeats for ever, without a file."""
    # One palette for all, of the first frame and the last: between them they have every colour.
    ends = np.concatenate((animation.frames[0], animation.frames[-1]))
    palette = Image.fromarray(ends).quantize(_COLOURS)
    images = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in animation.frames
    ]
    times = [animation.frame_ms] * len(images)
    times[-1] *= 5  # a rest before it begins anew
    buffer = BytesIO()
    images[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=times,
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def taps(window: Window, position: tuple[int, int]) -> list[tuple[int, int]]:
    """The input's (row, column) that each tap reads at an output's position; negative in padding.

    Example:
        >>> taps(Window(kernel=(1, 2), dilation=(1, 3), padding=(0, 1)), (0, 0))
        [(0, -1), (0, 2)]
    """
    starts = [p * s - q for p, s, q in zip(position, window.stride, window.padding, strict=True)]
    return [
        (starts[0] + i * window.dilation[0], starts[1] + j * window.dilation[1])
        for i in range(window.kernel[0])
        for j in range(window.kernel[1])
    ]


def _draw(
    size: tuple[int, int],
    window: Window,
    output: tuple[int, int],
    position: tuple[int, int],
    title: str,
) -> Pixels:
    """One frame: the input with its padding at the left, the output at the right."""
    padded = tuple(n + 2 * p for n, p in zip(size, window.padding, strict=True))
    side = max(1, min(_LARGEST_CELL_PX, _GRID_PX // max(*padded, *output)))
    top = MARGIN_PX + 2 * _TITLE_ROW_PX
    first_width = max(padded[1] * side, 150)
    left = MARGIN_PX + first_width + MARGIN_PX
    height = max(padded[0], output[0]) * side
    words = _words(window)
    across = max(left + max(output[1] * side, 150), int(measure(words, SMALL_PX)) + MARGIN_PX)
    image = Image.new("RGB", (across + MARGIN_PX, top + height + MARGIN_PX), PAPER)
    write(image, (MARGIN_PX, MARGIN_PX // 2 + 8), title, size=BODY_PX)
    write(image, (MARGIN_PX, MARGIN_PX // 2 + 8 + _TITLE_ROW_PX), words, size=SMALL_PX, colour=SOFT)
    for x, name in (
        (MARGIN_PX, f"input {size[0]}x{size[1]}"),
        (left, f"output {output[0]}x{output[1]}"),
    ):
        write(image, (x, top - 14), name, size=SMALL_PX, colour=SOFT)
    painted = np.full((*padded, 3), GRID, np.uint8)
    painted[
        window.padding[0] : padded[0] - window.padding[0],
        window.padding[1] : padded[1] - window.padding[1],
    ] = PAPER
    for row, col in taps(window, position):
        inside = 0 <= row < size[0] and 0 <= col < size[1]
        painted[row + window.padding[0], col + window.padding[1]] = BLUE if inside else VERMILLION
    filled = np.full((output[0] * output[1], 3), PAPER, np.uint8)
    number = position[0] * output[1] + position[1]
    filled[:number], filled[number] = _DONE, BLUE
    image.paste(Image.fromarray(_cells(painted, side)), (MARGIN_PX, top))
    image.paste(Image.fromarray(_cells(filled.reshape(*output, 3), side)), (left, top))
    return np.asarray(image)


def _cells(colours: Pixels, side: int) -> Pixels:
    """One cell for each colour, with lines between them where there is room, and a frame."""
    large: Pixels = colours.repeat(side, axis=0).repeat(side, axis=1)
    result = np.full((large.shape[0] + 1, large.shape[1] + 1, 3), FRAME, np.uint8)
    result[1:-1, 1:-1] = large[1:, 1:]
    if side >= _LEAST_LINED_PX:
        result[::side] = FRAME
        result[:, ::side] = FRAME
    return result


def _words(window: Window) -> str:
    parts = (
        ("kernel", window.kernel),
        ("stride", window.stride),
        ("padding", window.padding),
        ("dilation", window.dilation),
    )
    return ", ".join(
        f"{name} {value[0]}" if value[0] == value[1] else f"{name} {value[0]}x{value[1]}"
        for name, value in parts
    )
