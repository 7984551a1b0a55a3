import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv1d

from convolens.errors import ShapeError
from convolens.geometry import output_size


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 5),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_equals_the_length_of_torchs_convolution(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        with pytest.raises(ShapeError, match="does not fit"):
            output_size(size, kernel, **options)
        return
    out = conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), **options)
    assert output_size(size, kernel, **options) == out.shape[-1]


def test_the_error_shows_the_arithmetic() -> None:
    with pytest.raises(ShapeError) as caught:
        output_size(3, 5)
    assert "3 + 2·0 − 1·(5 − 1) − 1 = -2 < 0" in caught.value.message


@pytest.mark.parametrize("field", ["stride", "dilation"])
def test_a_number_out_of_range_is_named(field: str) -> None:
    with pytest.raises(ShapeError, match=f"{field} must be at least 1, received 0"):
        output_size(8, 3, **{field: 0})
