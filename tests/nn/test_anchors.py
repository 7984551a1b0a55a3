import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ConfigError
from convolens.nn.anchors import anchor_shapes, grid_anchors


def test_torchvision_has_the_same_around_corners_of_cells() -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios, stride, height, width = (32.0, 64.0), (0.5, 1.0, 2.0), 16, 5, 7
    theirs = AnchorGenerator((sizes,), (ratios,))
    pictures = ImageList(torch.zeros(1, 3, 16 * 5, 16 * 7), [(16 * 5, 16 * 7)])
    (expected,) = theirs(pictures, [torch.zeros(1, 1, height, width)])
    own = grid_anchors((height, width), stride, anchor_shapes(sizes, ratios), offset=0)
    assert (own - expected).abs().max() <= 0.5  # torchvision rounds its anchors to whole pixels


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([4, 8, 16, 13]))
def test_centres_are_those_of_the_cells_at_any_size(height: int, width: int, stride: int) -> None:
    shapes = anchor_shapes((10, 20), (0.5, 1.0))
    anchors = grid_anchors((height, width), stride, shapes).reshape(height, width, 4, 4)
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2
    for y in range(height):
        for x in range(width):
            expected = torch.tensor([(x + 0.5) * stride, (y + 0.5) * stride])
            torch.testing.assert_close(centre[y, x], expected.expand(4, 2))


def test_shapes_keep_area_and_ratio() -> None:
    for (height, width), (ratio, size) in zip(
        anchor_shapes((8, 32), (0.5, 3.0)),
        [(0.5, 8), (0.5, 32), (3.0, 8), (3.0, 32)],
        strict=True,
    ):
        assert height * width == pytest.approx(size**2)
        assert height / width == pytest.approx(ratio)


def test_no_size_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"anchors need sizes above 0, received \(0, 3\)"):
        anchor_shapes((0, 3), (1.0,))
