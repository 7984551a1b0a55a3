"""The textbook form against published sizes, and against the exact fields."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from convolens.analysis.field import Textbook, fields_of, textbook_of
from convolens.analysis.summarize import summarize
from convolens.models.registry import find_model

# Araujo, Norris and Sim (2019), table of receptive fields. Its ResNets halve the side in a
# block's first convolution or after its last one, which gives the same size.
ORIGINAL = {"stride_at": "1x1"}
PUBLISHED = [
    ("alexnet", {}, "pool5", 195),
    ("vgg16", {}, "features.28", 196),
    ("vgg16", {}, "features.30", 212),
    ("resnet50", ORIGINAL, "layer4", 483),
    ("resnet101", ORIGINAL, "layer4", 1027),
    ("resnet152", ORIGINAL, "layer4", 1507),
]


def layers_of(net: nn.Module, shape: tuple[int, ...]) -> dict[str, Textbook | None]:
    """The form of every layer's first result."""
    trace = summarize(net, shape).trace
    forms = textbook_of(trace)
    return {call.path: forms.get(call.outputs[0]) for call in trace.calls if call.outputs}


@pytest.mark.parametrize(("name", "options", "layer", "size"), PUBLISHED)
def test_published_sizes(name: str, options: Any, layer: str, size: int) -> None:
    entry = find_model(name)
    with torch.device("meta"):
        net = entry.builder(**options)
    form = layers_of(net, entry.input_size)[layer]
    assert form is not None
    assert form.size == (size, size)


@pytest.mark.parametrize(("name", "size"), [("inception_v4", 2071), ("inception_resnet_v2", 3039)])
def test_published_sizes_of_inception(name: str, size: int) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        net = timm.create_model(name)
    forms = layers_of(net, (3, 299, 299))
    assert forms["conv2d_7b" if name == "inception_resnet_v2" else "features"].size == (size, size)


def test_stride_and_start_of_vgg16_by_hand() -> None:
    entry = find_model("vgg16")
    with torch.device("meta"):
        net = entry.builder()
    forms = layers_of(net, entry.input_size)
    # Thirteen 3×3 windows at strides 1 1 2 2 4 4 4 8 8 8 16 16 16, each with a border of one.
    start = -(2 * 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16)
    assert forms["features.30"] == Textbook((212, 212), (32, 32), (start, start))


@st.composite
def stacks(draw: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        padding = draw(st.integers(0, kernel // 2))
        kind = draw(st.sampled_from([nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d]))
        if kind is nn.Conv2d:
            layers.append(nn.Conv2d(2, 2, kernel, stride, padding, draw(st.integers(1, 2))))
        else:
            layers.append(kind(kernel, stride, padding))
    return nn.Sequential(*layers)


@settings(deadline=None, max_examples=60)
@given(stacks())
def test_exact_fields_are_the_windows_cut_at_the_border(net: nn.Sequential) -> None:
    side = 40
    trace = summarize(net, (2, side, side)).trace
    form = textbook_of(trace)[trace.outputs[0]]
    boxes = fields_of(trace).boxes(trace.outputs[0])
    for axis in (0, 1):
        for unit in range(boxes.shape[4 + axis]):
            first = form.start[axis] + form.stride[axis] * unit
            last = first + form.size[axis] - 1
            at = (0, 0, unit, 0) if axis == 0 else (0, 0, 0, unit)
            found = (boxes[(axis, 0, *at)], boxes[(axis, 1, *at)])
            if first >= 0 and last < side:
                other = boxes[(1 - axis, 1, *at)]
                assert found == (first, last) or other < 0
            elif found[1] >= 0:
                assert max(first, 0) <= found[0]
                assert found[1] <= min(last, side - 1)


class Branches(nn.Module):
    def __init__(self, join: Any, second: nn.Module) -> None:
        super().__init__()
        self.join, self.first, self.second = join, nn.Conv2d(4, 4, 3, padding=1), second

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.join(self.first(x), self.second(x))
        return result


def beside(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b], 1)


@pytest.mark.parametrize("join", [torch.add, beside])
def test_branches_that_agree_are_covered_together(join: Any) -> None:
    form = layers_of(Branches(join, nn.Conv2d(4, 4, 7, padding=3)), (4, 16, 16))[""]
    assert form == Textbook((7, 7), (1, 1), (-3, -3))


def test_a_part_of_unlike_channels_has_no_one_form() -> None:
    net = Branches(lambda a, b: beside(a, b)[:, :4], nn.Conv2d(4, 4, 7, padding=3))
    assert layers_of(net, (4, 16, 16))[""] is None


def test_channels_that_are_moved_to_the_end_and_back_keep_the_form() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc(self.norm(self.conv(x).permute(0, 2, 3, 1)))
            return y.permute(0, 3, 1, 2)

    assert layers_of(Last(), (3, 32, 32))[""] == Textbook((4, 4), (4, 4), (0, 0))


@pytest.mark.parametrize(
    "irregular",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Upsample(scale_factor=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.InstanceNorm2d(4),
    ],
)
def test_what_is_not_regular_has_no_form(irregular: nn.Module) -> None:
    assert layers_of(nn.Sequential(irregular), (4, 8, 8))["0"] is None


def test_a_transposed_convolution_without_stride_is_regular() -> None:
    form = layers_of(nn.ConvTranspose2d(4, 4, 3, padding=1), (4, 8, 8))[""]
    assert form == Textbook((3, 3), (1, 1), (-1, -1))


def test_space_to_depth_sees_the_square_of_all_its_channels() -> None:
    class Focus(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            parts = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
            return torch.cat(parts, 1)

    expected = Textbook((2, 2), (2, 2), (0, 0))
    assert layers_of(Focus(), (3, 8, 8))[""] == expected
    assert layers_of(nn.PixelUnshuffle(2), (3, 8, 8))[""] == expected


def test_other_numbers_of_axes() -> None:
    assert layers_of(nn.Conv1d(3, 4, 5, 2), (3, 20))[""] == Textbook((5,), (2,), (0,))
    net = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2))
    expected = Textbook((4, 4, 4), (2, 2, 2), (-1, -1, -1))
    assert layers_of(net, (1, 8, 8, 8))["1"] == expected


def test_padding_that_reflects_counts_as_padding() -> None:
    class Reflect(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(F.pad(x, (2, 2, 1, 1), mode="reflect"), 3, 1)

    assert layers_of(Reflect(), (2, 9, 9))[""] == Textbook((3, 3), (1, 1), (-1, -2))
