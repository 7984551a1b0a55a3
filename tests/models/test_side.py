import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convolens.errors import ShapeError
from convolens.models.side import Window, side_after

WINDOWS = st.lists(
    st.builds(
        lambda kernel, stride, padding, ceil_mode: Window(
            "layer", kernel, stride, 0 if ceil_mode else padding, ceil_mode
        ),
        st.integers(2, 5),
        st.integers(1, 3),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=4,
)


def pooled(size: int, windows: list[Window]) -> int:
    x = torch.zeros(1, 1, size)
    for w in windows:
        x = nn.MaxPool1d(w.kernel, w.stride, w.padding, ceil_mode=w.ceil_mode)(x)
    return x.shape[-1]


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 60), windows=WINDOWS)
def test_sides_are_those_of_torch(size: int, windows: list[Window]) -> None:
    try:
        side = side_after(size, windows)
    except ShapeError as error:
        smallest = int((error.hint or "").split()[-2])
        assert size < smallest
        assert pooled(smallest, windows) == side_after(smallest, windows)
        with pytest.raises(ShapeError):
            side_after(smallest - 1, windows)
    else:
        assert side == pooled(size, windows)


def test_the_message_holds_the_sides_up_to_the_layer() -> None:
    windows = [Window("conv1", 11, stride=4), Window("pool1", 3, stride=2), Window("conv2", 5)]
    with pytest.raises(ShapeError) as caught:
        side_after(31, windows)
    assert str(caught.value) == (
        "a picture of 31 px does not fit: conv2 reads 5 px and gets 2 px (31 → conv1 6 → pool1 2)\n"
        "The smallest picture is 51 px."
    )
