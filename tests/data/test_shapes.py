"""The drawn dataset: the same bytes for the same seed, and targets that agree with the pixels."""

import hashlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.data.base import Dataset, Split
from convolens.data.drawing import COLOURS, SHADES
from convolens.data.picture import PictureFormat
from convolens.data.shapes import SHAPES_CLASSES, SHAPES_FORMAT, load_shapes
from convolens.errors import ConfigError

NOUN = re.compile(r"a (small|medium|large) ([a-z ]+?) (" + "|".join(SHAPES_CLASSES) + r")\b")


def drawn(channels: int = 3, size: tuple[int, int] = (64, 64), **numbers: int) -> Dataset:
    form = PictureFormat(channels=channels, size=size, fit="stretch")
    return load_shapes(format=form, **numbers)


@pytest.fixture(scope="module")
def train() -> Split:
    return load_shapes(num_train=240, num_test=1).train


def pixels_of(split: Split) -> np.ndarray:
    return split.pictures.batch(torch.arange(len(split))).numpy()


def digest(split: Split) -> str:
    """A checksum of every picture and every target."""
    sums = hashlib.sha256(pixels_of(split).tobytes())
    for kind in sorted(split.targets):
        for value in split.targets[kind]:
            sums.update(value.encode() if isinstance(value, str) else value.numpy().tobytes())
    return sums.hexdigest()[:16]


def test_default_format_and_what_a_split_holds():
    shapes = load_shapes(num_train=24, num_test=9)
    assert shapes.format == SHAPES_FORMAT
    assert (shapes.name, shapes.class_names, shapes.val) == ("shapes", SHAPES_CLASSES, None)
    assert pixels_of(shapes.train).shape == (24, 3, 64, 64)
    assert len(shapes.test) == 9
    assert shapes.test.names[:2] == ["test 0", "test 1"]
    assert set(shapes.train.targets) == {
        "label",
        "boxes",
        "box_labels",
        "masks",
        "instances",
        "keypoints",
        "caption",
    }
    targets = shapes.train.targets
    assert (targets["label"].shape, targets["label"].dtype) == ((24,), torch.int64)
    for kind in ("masks", "instances"):
        assert (targets[kind].shape, targets[kind].dtype) == ((24, 64, 64), torch.uint8)
    for boxes, labels, points in zip(
        targets["boxes"], targets["box_labels"], targets["keypoints"], strict=True
    ):
        count = len(boxes)
        assert 1 <= count <= 4
        assert (boxes.shape, boxes.dtype) == ((count, 4), torch.float32)
        assert (labels.shape, labels.dtype) == ((count,), torch.int64)
        assert (points.shape, points.dtype) == ((count, 5, 3), torch.float32)


def test_same_seed_same_bytes_and_another_seed_others():
    first, again = drawn(num_train=16, num_test=16), drawn(num_train=16, num_test=16)
    other = drawn(seed=1, num_train=16, num_test=16)
    assert digest(first.train) == digest(again.train) != digest(other.train)
    assert digest(first.test) == digest(again.test) != digest(other.test)


@pytest.mark.parametrize(
    ("channels", "size", "expected"),
    [(3, (64, 64), "aa6b6a922b9ab9b6"), (1, (28, 28), "b5628253b01548e5")],
)
def test_the_bytes_are_the_same_on_every_machine(channels, size, expected):
    # A change of these means that everyone's pictures, and their results, change.
    assert digest(drawn(channels, size, num_train=32, num_test=1).train) == expected


def test_a_picture_does_not_depend_on_how_many_are_asked_for():
    few, many = drawn(num_train=5, num_test=3), drawn(num_train=21, num_test=30)
    assert digest(many.train.select(torch.arange(5))) == digest(few.train)
    assert digest(many.test.select(torch.arange(3))) == digest(few.test)


def test_no_picture_is_in_both_splits_or_drawn_twice():
    shapes = drawn(size=(16, 16), num_train=200, num_test=200)
    both = [
        picture.tobytes() for split in (shapes.train, shapes.test) for picture in pixels_of(split)
    ]
    assert len(set(both)) == 400


def test_every_class_is_equally_frequent_and_the_order_is_random():
    labels = drawn(size=(16, 16), num_train=800, num_test=1).train.targets["label"].numpy()
    assert np.bincount(labels).tolist() == [100] * 8
    assert len({tuple(block) for block in labels.reshape(100, 8)}) > 90


def check_targets(split: Split) -> None:
    """Boxes, masks, instances and labels say the same, and the largest figure gives the label."""
    targets = split.targets
    for i in range(len(split)):
        instances, boxes = targets["instances"][i].numpy(), targets["boxes"][i].numpy()
        classes = targets["box_labels"][i].numpy()
        shown = np.bincount(instances.ravel(), minlength=len(boxes) + 1)[1:]
        assert instances.max() == len(boxes)
        assert shown.min() >= 8
        assert classes[0] == targets["label"][i]
        assert (shown[1:] <= 0.6 * shown[0]).all()
        for j, box in enumerate(boxes):
            y, x = np.nonzero(instances == j + 1)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        expected = np.concatenate([[0], classes + 1])[instances]
        np.testing.assert_array_equal(targets["masks"][i].numpy(), expected)


def test_targets_agree(train):
    check_targets(train)
    counts = np.bincount([len(boxes) for boxes in train.targets["boxes"]], minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 15


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    channels=st.sampled_from([1, 3]),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
)
def test_targets_agree_for_any_seed_size_and_colour(seed, channels, height, width):
    shapes = drawn(channels, (height, width), seed=seed, num_train=3, num_test=1)
    assert pixels_of(shapes.train).shape == (3, channels, height, width)
    check_targets(shapes.train)
    check_captions(shapes.train)


def check_captions(split: Split) -> None:
    """Classes, sizes and sides of the caption, recomputed from the other targets."""
    targets = split.targets
    for i, caption in enumerate(targets["caption"]):
        boxes = targets["boxes"][i].numpy()
        shares = np.bincount(targets["instances"][i].numpy().ravel())[1:]
        shares = shares / targets["instances"][i].numel()
        nouns = NOUN.findall(caption)
        assert [SHAPES_CLASSES.index(noun[2]) for noun in nouns] == targets["box_labels"][
            i
        ].tolist()
        sizes = ["small" if s < 0.05 else "large" if s >= 0.12 else "medium" for s in shares]
        assert [noun[0] for noun in nouns] == sizes
        sides = re.findall(r"\b(above|below|left of|right of) a ", caption)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert len(sides) == len(boxes) - 1
        for side, other in zip(sides, middles[1:], strict=True):
            right, down = middles[0] - other
            true = {"above": -down, "below": down, "left of": -right, "right of": right}
            assert true[side] == max(true.values())
        assert re.search(r" on an? [a-z ]+ background$", caption)


def test_captions_say_what_the_other_targets_say(train):
    check_captions(train)
    assert all(
        " on an orange " in c for c in train.targets["caption"] if c.endswith("n orange background")
    )


@pytest.mark.parametrize(("channels", "palette"), [(3, COLOURS), (1, SHADES)])
def test_colours_of_the_caption_are_the_nearest_to_the_pixels(channels, palette):
    split = drawn(channels, num_train=240, num_test=1).train
    pixels, instances = pixels_of(split), split.targets["instances"].numpy()
    names, values = list(palette), np.array(list(palette.values()), dtype=float)
    for i, caption in enumerate(split.targets["caption"]):
        words = [re.search(r" on an? ([a-z ]+) background$", caption)[1]]
        words += [noun[1] for noun in NOUN.findall(caption)]
        for j, word in enumerate(words):
            mean = pixels[i][:, instances[i] == j].mean(axis=1)
            assert names[np.linalg.norm(values - mean, axis=1).argmin()] == word
        assert len(set(words)) == len(words)


def test_keypoints_lie_on_their_figures(train):
    hidden = 0
    for points, instances, labels in zip(
        train.targets["keypoints"],
        train.targets["instances"].numpy(),
        train.targets["box_labels"],
        strict=True,
    ):
        for j, (five, label) in enumerate(zip(points.numpy(), labels.tolist(), strict=True)):
            y, x = np.nonzero(instances == j + 1)
            for px, py, seen in five[1:]:
                distance = np.hypot(x + 0.5 - px, y + 0.5 - py).min()
                if seen:
                    assert 0 <= px < 64
                    assert 0 <= py < 64
                    # A landmark is a tip: its last whole pixel lies up to two pixels further in.
                    assert distance < 2.5 * np.sqrt(2)
                hidden += not seen
            if SHAPES_CLASSES[label] not in ("heart", "arrow"):
                assert five[1:, 1].argmin() == 0
    assert hidden > 50


def test_hidden_keypoints_are_outside_or_behind_another_figure(train):
    behind = 0
    for points, instances in zip(
        train.targets["keypoints"], train.targets["instances"].numpy(), strict=True
    ):
        for j, five in enumerate(points.numpy()):
            for x, y, seen in five:
                if seen or not (0 <= x < 64 and 0 <= y < 64):
                    continue
                row, column = int(y), int(x)
                around = instances[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
                assert instances[row, column] != j + 1
                assert (around > 0).any()
                assert instances[row, column] > 0 or not (around == j + 1).any()
                behind += 1
    assert behind > 20


def test_circle_is_seen_where_its_keypoints_say(train):
    circle = SHAPES_CLASSES.index("circle")
    whole = 0
    for boxes, labels, points in zip(
        train.targets["boxes"], train.targets["box_labels"], train.targets["keypoints"], strict=True
    ):
        for box, label, five in zip(boxes, labels, points, strict=True):
            if label == circle and five[:, 2].all():
                extent = [five[4, 0], five[1, 1], five[2, 0], five[3, 1]]
                torch.testing.assert_close(box, torch.stack(extent), atol=1.01, rtol=0)
                whole += 1
    assert whole > 20


def test_edges_are_smooth():
    # A grey picture of one black figure on white: its rim takes values between the two.
    split = drawn(1, (128, 128), num_train=400, num_test=1).train
    chosen = [
        i
        for i, caption in enumerate(split.targets["caption"])
        if re.fullmatch(r"a \w+ black (circle|square|ring) on a white background", caption)
    ]
    assert chosen
    for i in chosen:
        between = (pixels_of(split)[i] > 60) & (pixels_of(split)[i] < 170)
        assert between.sum() > 20


@pytest.mark.parametrize(
    ("form", "numbers", "message"),
    [
        ((3, (15, 64)), {}, "shapes need a size of at least 16 px, received 15×64"),
        ((4, (64, 64)), {}, "shapes are drawn in 1 or 3 channels, received 4"),
        ((3, (64, 64)), {"seed": -1}, "seed must be at least 0, received -1"),
        ((3, (64, 64)), {"num_train": 0}, "num_train must be at least 1, received 0"),
        ((3, (64, 64)), {"num_test": 0}, "num_test must be at least 1, received 0"),
    ],
)
def test_wrong_numbers_are_named(form, numbers, message):
    with pytest.raises(ConfigError) as caught:
        drawn(*form, **numbers)
    assert str(caught.value) == message
