from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convolens.data.picture import Fit, PictureFormat, decode_as, fit_pixels
from convolens.data.placement import VOID, Placement, placement_of

SIDES = st.integers(1, 97)
SIZES = st.tuples(SIDES, SIDES)
FITS: st.SearchStrategy[Fit] = st.sampled_from(["pad", "crop", "stretch"])
CORNERS = st.floats(-50, 150, allow_nan=False)
BOXES = st.lists(st.tuples(CORNERS, CORNERS, CORNERS, CORNERS), max_size=4)


def place(original: tuple[int, int], size: tuple[int, int], fit: Fit = "pad") -> Placement:
    return placement_of(original, PictureFormat(channels=1, size=size, fit=fit))


@settings(max_examples=60, deadline=None)
@given(original=SIZES, size=SIZES, fit=FITS, boxes=BOXES)
def test_boxes_come_back_exactly(
    original: tuple[int, int], size: tuple[int, int], fit: Fit, boxes: list[tuple[float, ...]]
) -> None:
    before = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    where = place(original, size, fit)
    after = where.boxes_out(where.boxes_in(before))
    assert torch.allclose(after, before, rtol=0, atol=1e-9)
    single = where.boxes_out(where.boxes_in(before.float()))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), before, rtol=0, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(original=SIZES, size=SIZES)
def test_a_padded_picture_lies_inside_and_keeps_its_proportions(
    original: tuple[int, int], size: tuple[int, int]
) -> None:
    where = place(original, size)
    whole = torch.tensor([[0, 0, original[1], original[0]]], dtype=torch.float64)
    x0, y0, x1, y1 = where.boxes_in(whole)[0].tolist()
    assert 0 <= x0 < x1 <= size[1] + 1e-9
    assert 0 <= y0 < y1 <= size[0] + 1e-9
    assert max(x1 - x0 - size[1], y1 - y0 - size[0]) == pytest.approx(0, abs=0.5 + 1e-9)
    assert abs((size[1] - x1) - x0) <= 1 + 1e-9  # in the middle, to a pixel
    assert where.size == size


@settings(max_examples=60, deadline=None)
@given(original=SIZES, size=SIZES)
def test_masks_come_back_with_the_pixels_of_the_nearest(
    original: tuple[int, int], size: tuple[int, int]
) -> None:
    rows = torch.arange(original[0], dtype=torch.uint8)[:, None].expand(original)
    where = place(original, size)
    fitted = where.masks_in(rows)
    assert fitted.shape == size
    back = where.masks_out(fitted)
    assert back.shape == original
    # A pixel that is shrunk away comes back as one at most half a shrunken pixel off.
    far = (back.int() - rows.int()).abs().max().item()
    assert far <= 0.5 / min(1, where.scale[0]) + 0.5
    assert (back != VOID).all()
    if where.scale[0] >= 1 and where.scale[1] >= 1:
        assert torch.equal(back, rows)


@pytest.mark.parametrize(
    ("original", "size"), [((37, 53), (64, 64)), ((90, 31), (33, 47)), ((480, 640), (256, 320))]
)
def test_masks_stand_where_their_pictures_do(
    original: tuple[int, int], size: tuple[int, int]
) -> None:
    """The oracles are PyTorch's nearest pixels, and a white picture fitted as pictures are."""
    mask = torch.randint(0, 9, original, dtype=torch.uint8)
    form = PictureFormat(channels=1, size=size, fit="pad")
    fitted = placement_of(original, form).masks_in(mask)
    white = fit_pixels(torch.full((1, 1, *original), 255, dtype=torch.uint8), form)[0, 0]
    assert torch.equal(fitted != VOID, white == 255)
    rows, cols = (int((white == 255).any(axis).sum()) for axis in (1, 0))
    nearest = F.interpolate(mask[None, None].float(), (rows, cols), mode="nearest-exact")
    assert torch.equal(fitted[fitted != VOID], nearest.to(torch.uint8).flatten())


def test_what_is_around_a_picture_is_void_and_what_was_cut_off_comes_back_as_void() -> None:
    mask = torch.ones(10, 20, dtype=torch.uint8)
    padded = place((10, 20), (20, 20)).masks_in(mask)
    assert padded[:, 0].tolist() == [VOID] * 5 + [1] * 10 + [VOID] * 5
    cut = place((10, 20), (10, 10), "crop")
    assert (cut.masks_in(mask) == 1).all()
    assert cut.masks_out(cut.masks_in(mask))[0].tolist() == [VOID] * 5 + [1] * 10 + [VOID] * 5
    many = place((10, 20), (20, 20)).masks_in(mask.expand(3, 10, 20))
    assert torch.equal(many[2], padded)


def test_a_letterboxed_box_in_numbers() -> None:
    where = place((480, 640), (256, 320))
    assert (where.scale, where.top, where.left) == ((0.5, 0.5), 8, 0)
    inside = where.boxes_in(torch.tensor([[100.0, 200.0, 300.0, 400.0]]))
    assert inside.tolist() == [[50, 108, 150, 208]]


def test_a_large_jpeg_stands_where_its_boxes_do(tmp_path: Path) -> None:
    """A JPEG that is decoded at an eighth may not move against its targets."""
    for size in ((1600, 2000), (1601, 2003)):
        pixels = np.zeros((*size, 3), np.uint8)
        pixels[400:800, 1000:1600] = 255
        Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=95)
        form = PictureFormat(channels=3, size=(96, 96), fit="pad")
        fitted = decode_as((tmp_path / "x.jpg").read_bytes(), "x", form)[0][0]
        rows, cols = torch.nonzero(fitted > 127).T
        found = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
        box = torch.tensor([[1000.0, 400.0, 1600.0, 800.0]])
        expected = placement_of(size, form).boxes_in(box)[0]
        assert (torch.tensor(found) - expected).abs().max() <= 0.6
