from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convolens.errors import ShapeError
from convolens.nn.dimensions import layers_for


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_layer_takes_inputs_of_its_axes(axes: int) -> None:
    layers = layers_for(axes)
    x = torch.zeros(2, 4, *[6] * axes)
    sides = {
        "conv": (layers.conv(4, 4, 3), 4),
        "conv_transpose": (layers.conv_transpose(4, 4, 3), 8),
        "batch_norm": (layers.batch_norm(4), 6),
        "avg_pool": (layers.avg_pool(2), 3),
        "max_pool": (layers.max_pool(2), 3),
        "adaptive_avg_pool": (layers.adaptive_avg_pool(2), 2),
        "adaptive_max_pool": (layers.adaptive_max_pool(2), 2),
        "dropout": (layers.dropout(), 6),
    }
    assert {*sides, "interpolation"} == {field.name for field in fields(layers)}
    for layer, side in sides.values():
        assert isinstance(layer, nn.Module)
        assert layer(x).shape == (2, 4, *[side] * axes)
    larger = F.interpolate(x, scale_factor=2, mode=layers.interpolation)
    assert larger.shape == (2, 4, *[12] * axes)


@pytest.mark.parametrize("axes", [0, 4])
def test_other_numbers_are_refused(axes: int) -> None:
    with pytest.raises(ShapeError, match=f"1, 2 or 3 spatial axes .*, received {axes}"):
        layers_for(axes)
