from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convolens.errors import DataError
from convolens.report.parts import Picture, Text
from convolens.report.sight import (
    Example,
    chosen_examples,
    filter_parts,
    map_parts,
    saliency_parts,
)

torch.manual_seed(0)
NET = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 5 * 5, 3)
).eval()
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).eval()
NAMES = ["cat", "dog", "eel"]


def example(true: int = 0, predicted: int = 1) -> Example:
    return Example(
        why="Wrong, and the surest",
        name="a.png",
        pixels=np.arange(144, dtype=np.uint8).reshape(1, 12, 12),
        true=true,
        predicted=predicted,
        probability=0.75,
    )


def test_a_picture_is_chosen_once_and_an_unread_one_never() -> None:
    predicted = torch.tensor([-1, 0, 0, 1, 1])
    probability = torch.tensor([0.0, 0.9, 0.4, 0.95, 0.5])
    labels = torch.tensor([0, 0, 0, 0, 1])
    assert chosen_examples(predicted, probability, labels) == [
        ("Right, and the surest", 1),
        ("Wrong, and the surest", 3),
        ("The least sure", 2),
    ]
    one = torch.tensor([3])
    assert chosen_examples(one, torch.tensor([0.2]), one) == [("Right, and the surest", 0)]
    assert chosen_examples(-one, torch.tensor([0.0]), one) == []


def test_saliency_is_of_the_class_that_the_network_says() -> None:
    examples = [example(), example(true=2, predicted=2)]
    x = torch.rand(2, 1, 12, 12)
    parts = saliency_parts(NET, x, examples, NAMES, steps=8)
    texts = [part.text for part in parts if isinstance(part, Text)]
    assert texts == [
        "Wrong, and the surest. Of a.png the network says dog, 75 %; it is cat.",
        "Wrong, and the surest. Of a.png the network says eel, 75 %.",
    ]
    shown = [part for part in parts if isinstance(part, Picture)]
    assert "What speaks for 'dog'" in shown[0].caption
    assert shown[1].caption == "The same methods, for 'eel'."
    assert all(parameter.grad is None for parameter in NET.parameters())


def test_a_network_without_feature_maps_has_saliency_but_no_maps() -> None:
    parts = saliency_parts(LINEAR, torch.rand(1, 1, 12, 12), [example()], NAMES, steps=4)
    assert [type(part) for part in parts] == [Text, Picture]
    (words,) = map_parts(LINEAR, torch.rand(1, 1, 12, 12), example())
    assert words == Text(text="The network has no layer with feature maps.", tone="soft")


def test_feature_maps_of_few_layers() -> None:
    words, *shown = map_parts(NET, torch.rand(1, 1, 12, 12), example())
    assert isinstance(words, Text)
    assert "What the network makes of a.png" in words.text
    captions = [part.caption for part in shown if isinstance(part, Picture)]
    assert [caption.split(",")[0] for caption in captions] == ["The 4 maps of 0", "The 4 maps of 1"]


def test_filters_come_from_the_figure_that_training_left() -> None:
    buffer = BytesIO()
    Image.new("RGB", (40, 20), (1, 2, 3)).save(buffer, "PNG")
    (shown,) = filter_parts(NET, None, buffer.getvalue())
    assert isinstance(shown, Picture)
    assert Image.open(BytesIO(shown.png)).convert("RGB").getpixel((5, 5)) == (1, 2, 3)
    assert "before and after training" in shown.caption
    with pytest.raises(DataError, match=r"figures/filters\.png is not a whole PNG"):
        filter_parts(NET, None, b"half a file")


def test_without_it_those_after_training_are_drawn() -> None:
    shown, note = filter_parts(NET, None, None)
    assert isinstance(shown, Picture)
    assert shown.caption.startswith("4 filters of 1×3×3")
    assert isinstance(note, Text)
    assert "were not kept" in note.text


def test_a_linear_network_shows_its_templates() -> None:
    (shown,) = filter_parts(LINEAR, np.zeros((1, 12, 12), np.uint8), None)
    assert isinstance(shown, Picture)
    assert "(3 of 12×12)" in shown.caption
    (words,) = filter_parts(LINEAR, np.zeros((1, 9, 9), np.uint8), None)
    assert isinstance(words, Text)
    assert "no first filters" in words.text
