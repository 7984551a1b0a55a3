from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from convolens.analysis.explanation import explain_unit
from convolens.errors import ShapeError
from convolens.visual.explanation import explanation_figure, explanation_svg, signed_colour
from convolens.visual.style import GRID, MARGIN_PX, VERMILLION

NAMES = {"s": "http://www.w3.org/2000/svg"}
IMAGE = np.arange(3 * 14 * 14, dtype=np.uint8).reshape(3, 14, 14)


def convolution(**options: object) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, **options), nn.ReLU())  # type: ignore[arg-type]


def test_the_frame_is_around_the_pixels_that_the_unit_depends_on() -> None:
    found = explain_unit(convolution(), torch.randn(1, 3, 14, 14), "0", (0, 4, 7))
    assert (found.rows, found.cols) == ((3, 5), (6, 8))
    pixels = explanation_figure(found, IMAGE).pixels
    left_part = pixels[:, : MARGIN_PX + 420]
    rows, cols = np.nonzero((left_part == VERMILLION).all(axis=2))
    factor = 420 // 14
    top = rows.min() - 3 * factor  # of the image
    assert (rows.min(), rows.max()) == (top + 3 * factor, top + 6 * factor - 1)
    assert (cols.min(), cols.max()) == (MARGIN_PX + 6 * factor, MARGIN_PX + 9 * factor - 1)
    inside = left_part[top : top + 14 * factor : factor, MARGIN_PX::factor][:3, :14]
    assert np.array_equal(inside, IMAGE.transpose(1, 2, 0)[:3])


def test_every_cell_has_the_colour_of_its_number_and_padding_is_crossed() -> None:
    x = torch.randn(1, 3, 14, 14)
    found = explain_unit(convolution(), x, "0", (1, 0, 5))
    root = ElementTree.fromstring(explanation_svg(found, IMAGE))
    fills = [box.get("fill") for box in root.findall("s:rect", NAMES)]
    weights = [term.weight for term in found.terms]
    limit = max(map(abs, weights))
    for weight in weights:
        colour = "#" + "".join(f"{part:02x}" for part in signed_colour(weight / limit))
        assert colour in fills
    padded = sum(term.padded for term in found.terms)
    assert padded == 9
    assert len(root.findall("s:line", NAMES)) == padded
    assert fills.count("#" + "".join(f"{part:02x}" for part in GRID)) == padded
    texts = [element.text or "" for element in root.findall("s:text", NAMES)]
    assert "depends on rows 0-1, columns 4-6" in texts
    assert any(f"the network has {found.network:.9g}" in text for text in texts)
    assert any(text.startswith("then 1: max(0, ") for text in texts)


def test_what_is_unfolded_has_a_section_of_its_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    found = explain_unit(net, torch.randn(1, 3, 14, 14), "3", (0,), depth=3)
    root = ElementTree.fromstring(explanation_svg(found, IMAGE))
    texts = [element.text or "" for element in root.findall("s:text", NAMES)]
    assert len(root.findall("s:image", NAMES)) == 1 + 3 + 9
    assert sum("average pool" in text for text in texts) == 3


def test_terms_without_rows_and_columns_are_bars() -> None:
    net = nn.Sequential(nn.Linear(30, 2), nn.Softmax(1))
    found = explain_unit(net, torch.randn(1, 30), "0", (0,))
    figure = explanation_figure(found, IMAGE[:1])
    assert figure.caption.startswith(f"Unit (0) of 0 is {found.network:.6g}: linear.")
    texts = [e.text or "" for e in ElementTree.fromstring(explanation_svg(found, IMAGE)).iter()]
    assert any(text.startswith("the other 22 terms: sum ") for text in texts)


def test_what_has_no_rule_shows_its_inputs() -> None:
    found = explain_unit(nn.Sequential(nn.Softshrink()), torch.ones(1, 3, 14, 14), "0", (0, 1, 2))
    texts = [e.text or "" for e in ElementTree.fromstring(explanation_svg(found, IMAGE)).iter()]
    assert "there is no explanation for aten.softshrink" in texts
    assert "input: 1 here, 1 to 1" in texts


def test_another_form_of_image() -> None:
    found = explain_unit(convolution(), torch.randn(1, 3, 14, 14), "0", (0, 4, 7))
    with pytest.raises(ShapeError, match=r"image must be uint8 of shape \(1 or 3, H, W\)"):
        explanation_figure(found, IMAGE.transpose(1, 2, 0))
