"""The exact fields of networks whose fields are known, or whose gradients tell them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.analysis.field import Field, fields_of
from convolens.analysis.summarize import summarize
from convolens.errors import ShapeError


def fields_and_output(net: nn.Module, *shape: int) -> tuple[Any, int]:
    trace = summarize(net, shape).trace
    return fields_of(trace), trace.outputs[0]


class Of(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = self.function(*inputs)
        return result


def test_a_unit_is_clipped_at_the_border_and_padding_reads_nothing() -> None:
    fields, output = fields_and_output(nn.Conv2d(1, 1, 3, padding=3), 1, 6, 6)
    assert fields.unit(output, 1, 4) == Field(((0, 0), (1, 3)))
    assert fields.unit(output, 0, 4) is None
    assert fields.unit(output, 9, 9) is None


def test_channels_that_see_unlike_regions_have_fields_of_their_own() -> None:
    near, far = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
    net = Of(lambda x: torch.cat([near(x), far(x)], 1).roll(1, 1))
    fields, output = fields_and_output(net, 1, 9, 9)
    sizes = [fields.unit(output, 4, 4, channel=channel).size for channel in range(4)]
    assert sizes == [(5, 5), (1, 1), (1, 1), (5, 5)]
    assert fields.unit(output, 4, 4).size == (5, 5)


def test_a_flattened_unit_knows_its_pixel_and_a_linear_layer_knows_all() -> None:
    fields, output = fields_and_output(nn.Flatten(), 2, 3, 4)
    assert fields.unit(output, channel=17) == Field(((1, 1), (1, 1)))
    fields, output = fields_and_output(nn.Sequential(nn.Flatten(), nn.Linear(24, 5)), 2, 3, 4)
    assert fields.unit(output, 0, 0, channel=3) == Field(((0, 2), (0, 3)))


def test_windows_of_attention_keep_to_their_window() -> None:
    def attend(x: Tensor) -> Tensor:
        y = x.unflatten(2, (2, 4)).unflatten(4, (2, 4)).permute(0, 2, 4, 3, 5, 1)
        y = y.reshape(4, 16, -1)
        y = F.scaled_dot_product_attention(y, y, y)
        y = y.reshape(1, 2, 2, 4, 4, -1).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(x.shape)

    fields, output = fields_and_output(Of(attend), 3, 8, 8)
    assert fields.unit(output, 1, 6) == Field(((0, 3), (4, 7)))
    assert fields.unknown == ()


def test_each_input_has_its_own_fields() -> None:
    left, right = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5, padding=1)
    net = Of(lambda x, y: left(x) + right(y))
    trace = summarize(net, [(1, 8, 8), (1, 8, 8)]).trace
    sizes = [fields_of(trace, source).unit(trace.outputs[0], 3, 3).size for source in (0, 1)]
    assert sizes == [(3, 3), (5, 5)]


def test_what_is_written_into_a_view_of_all_is_in_the_tensor() -> None:
    def fill(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[:] = x.flip(3)
        return y + 0.0

    fields, output = fields_and_output(Of(fill), 1, 4, 4)
    assert fields.unit(output, 1, 0) == Field(((1, 1), (3, 3)))


def test_an_operation_without_a_rule_reads_everything_and_is_named() -> None:
    def sample(x: Tensor) -> Tensor:
        grid = torch.zeros(1, 3, 3, 2, device=x.device)
        return F.grid_sample(x, grid, align_corners=False)

    inner = Of(sample)
    net = nn.Sequential(nn.Conv2d(1, 1, 3), inner, nn.Conv2d(1, 1, 1))
    fields, output = fields_and_output(net, 1, 8, 8)
    assert fields.unit(output, 0, 0) == Field(((0, 7), (0, 7)))
    assert [(u.name, u.place) for u in fields.unknown] == [("aten.grid_sampler_2d", "1")]


def test_an_unbatched_picture_says_which_axes_are_space() -> None:
    trace = summarize(Of(lambda x: F.avg_pool2d(x[None], 3)), inputs=torch.empty(3, 9, 9)).trace
    fields = fields_of(trace, axes=(1, 2))
    assert fields.unit(trace.outputs[0], 1, 2) == Field(((3, 5), (6, 8)))
    with pytest.raises(ShapeError, match=r"axes of an input of shape \(3, 9, 9\) are 0 to 2"):
        fields_of(trace, axes=(1, 3))


def test_other_numbers_of_axes() -> None:
    fields, output = fields_and_output(nn.Conv1d(2, 2, 3, dilation=2), 2, 9)
    field = fields.unit(output, 2)
    assert (field.rows, field.cols, field.size) == ((0, 0), (2, 6), (5,))
    fields, output = fields_and_output(nn.MaxPool3d(2), 1, 4, 6, 8)
    assert fields.unit(output, 1, 2, 3) == Field(((2, 3), (4, 5), (6, 7)))


def test_units_that_are_not_there() -> None:
    fields, output = fields_and_output(nn.Conv2d(1, 2, 3), 1, 6, 6)
    with pytest.raises(ShapeError, match=r"no unit \(all, all, 4, 0\) in a tensor of shape"):
        fields.unit(output, 4, 0)
    with pytest.raises(ShapeError, match="a unit of 2×4×4 has 2 positions after its channel"):
        fields.unit(output, 1)


def test_the_textbook_form_of_a_value() -> None:
    fields, output = fields_and_output(nn.Conv2d(1, 1, 3, 2, padding=1), 1, 8, 8)
    form = fields.textbook(output)
    assert (form.size, form.stride, form.start) == ((3, 3), (2, 2), (-1, -1))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.glu(x, 1),
        lambda x: F.layer_norm(x, x.shape[-1:]),
        lambda x: x.var(3, keepdim=True) + x,
        lambda x: x.unfold(3, 3, 2).sum(4),
        lambda x: x.matmul(x.transpose(2, 3)),
        lambda x: torch.stack([x[:, 0], x[:, 1]], 3).flatten(3)[..., 0].unsqueeze(1),
        lambda x: x.repeat_interleave(2, 2),
        lambda x: F.channel_shuffle(torch.cat([x, x.roll(2, 3)], 1), 2),
        lambda x: F.local_response_norm(x.flip(2), 3),
    ],
)
def test_operations_of_which_the_random_networks_have_none(function: Any, oracle: Any) -> None:
    fields, output = fields_and_output(Of(function), 4, 6, 6)
    torch.manual_seed(0)
    x = torch.rand(1, 4, 6, 6, dtype=torch.float64) + 0.5
    np.testing.assert_array_equal(fields.boxes(output), oracle.all_extents(Of(function), x))
    assert fields.unknown == ()


def test_a_write_through_a_turned_view_is_not_taken_for_another() -> None:
    def turn(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y.transpose(2, 3).copy_(x)
        return y + 0.0

    fields, output = fields_and_output(Of(turn), 1, 4, 4)
    assert fields.unit(output, 0, 0) == Field(((0, 3), (0, 3)))
    assert [u.name for u in fields.unknown] == ["aten.transpose", "convolens.overwrite"]
