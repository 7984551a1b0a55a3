from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from convolens.errors import ShapeError
from convolens.visual.style import BLUE, VERMILLION
from convolens.visual.window_animation import Window, gif_bytes, taps, window_animation

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=pairs,
    stride=pairs,
    dilation=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_the_taps_are_the_pixels_that_a_convolution_reads(
    size, kernel, stride, dilation, padding
) -> None:
    for axis in (0, 1):
        assume(size[axis] + 2 * padding[axis] >= dilation[axis] * (kernel[axis] - 1) + 1)
    window = Window(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    x = torch.zeros(1, 1, *size, requires_grad=True)
    y = F.conv2d(x, torch.ones(1, 1, *kernel), stride=stride, padding=padding, dilation=dilation)[
        0, 0
    ]
    place = (y.shape[0] - 1, y.shape[1] // 2)
    (slope,) = torch.autograd.grad(y[place], x)
    read = {(int(r), int(c)) for r, c in slope[0, 0].nonzero()}
    inside = {(r, c) for r, c in taps(window, place) if 0 <= r < size[0] and 0 <= c < size[1]}
    assert inside == read


def test_a_frame_shows_taps_on_the_input_and_on_the_padding() -> None:
    window = Window(kernel=(3, 3), padding=(1, 1))
    found = window_animation((4, 4), window)
    assert len(found.frames) == 16
    side = 32  # the greatest cell, whose fill leaves out a frame of one pixel
    first = found.frames[0]
    assert (first == BLUE).all(2).sum() == 5 * (side - 1) ** 2  # 4 taps and one output
    assert (first == VERMILLION).all(2).sum() == 5 * (side - 1) ** 2
    middle = found.frames[5]
    assert (middle == BLUE).all(2).sum() == 10 * (side - 1) ** 2
    assert not (middle == VERMILLION).all(2).any()


def test_the_gif_has_every_frame_and_is_small() -> None:
    found = window_animation((224, 224), Window(kernel=(11, 11), stride=(4, 4), padding=(2, 2)))
    assert len(found.frames) == 64
    assert found.positions[0] == (0, 0)
    assert found.positions[-1] == (54, 54)
    data = gif_bytes(found)
    assert len(data) < 200_000
    picture = Image.open(BytesIO(data))
    assert picture.n_frames == 64
    assert picture.info["duration"] == 220
    shown = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(shown - found.frames[0]).mean() < 3


def test_a_window_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="a window of 7 px does not fit into 5 px"):
        window_animation((5, 5), Window(kernel=(3, 3), dilation=(3, 3)))
