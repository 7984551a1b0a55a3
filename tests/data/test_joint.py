"""Pictures, masks and boxes move as one: boxes drawn as masks and pictures say what is right."""

import dataclasses

import pytest
import torch
from torch import Tensor

from convolens.data.augment import AugmentConfig, Share, augment
from convolens.data.joint import augment_together, clipped_boxes
from convolens.data.placement import VOID
from convolens.errors import ConfigError, ShapeError

EVERYTHING = AugmentConfig(
    shift=0.2,
    flip=0.5,
    vertical_flip=0.5,
    rotation=30,
    scale=0.3,
    stretch=0.4,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    hue=0.3,
    cutout=0.3,
)
MOVES = {
    "flip": {"flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "shift": {"shift": 0.3, "flip": 0.5},
    "scale": {"scale": 0.5},
    "stretch": {"stretch": 0.8, "shift": 0.1},
    "zoom in": {"flip": 0.5, "zoom_in": 2.5},
    "zoom out": {"vertical_flip": 0.5, "zoom_out": 0.4},
    "both": {"flip": 0.5, "shift": 0.1, "scale": 0.2, "zoom_out": 0.5, "zoom_in": 2.0},
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_boxes(batch: int, count: int, height: int, width: int) -> Tensor:
    """Boxes at whole pixels, so that a mask can hold them exactly."""
    corners = torch.rand(batch, count, 2, 2, generator=seeded(5))
    whole = (corners * torch.tensor([width, height])).round()
    low, high = whole.amin(2), whole.amax(2)
    return torch.cat([low, torch.maximum(high, low + 8)], 2).clamp(
        max=torch.tensor([width, height, width, height]).float()
    )


def drawn(boxes: Tensor, height: int, width: int) -> Tensor:
    """One uint8 mask (B, H, W) of one box each: 1 inside."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    return masks


def extent(mask: Tensor) -> Tensor:
    """The box around the pixels of value 1."""
    rows, columns = torch.nonzero(mask == 1).unbind(1)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("size", [(40, 40), (33, 54)])
def test_boxes_are_where_their_masks_went(name: str, size: tuple[int, int]) -> None:
    boxes = some_boxes(24, 1, *size)
    moved = augment_together(
        torch.zeros(24, 1, *size),
        seeded(),
        AugmentConfig(**MOVES[name]),
        visible=0.0,
        masks=drawn(boxes[:, 0], *size),
        boxes=boxes,
    )
    assert moved.masks is not None
    assert moved.boxes is not None
    assert moved.kept is not None
    seen = 0
    for mask, box, kept in zip(moved.masks, moved.boxes[:, 0], moved.kept[:, 0], strict=True):
        big = ((box[2:] - box[:2]) >= 2).all() and kept
        if big:  # a thinner box may lie between two pixels
            assert (extent(mask) - box).abs().max() <= 1.0, (mask, box)
            seen += 1
        if not kept:
            assert not (mask == 1).any()
    assert seen > 12


@pytest.mark.parametrize("words", [{"flip": 0.5, "vertical_flip": 0.5}, {"shift": 0.4}])
def test_flips_and_shifts_are_exact(words: dict[str, float]) -> None:
    boxes = some_boxes(16, 1, 33, 54)
    masks = drawn(boxes[:, 0], 33, 54)
    moved = augment_together(
        masks[:, None], seeded(), AugmentConfig(**words), visible=0.0, masks=masks, boxes=boxes
    )
    assert moved.masks is not None
    assert moved.boxes is not None
    assert torch.equal((moved.masks == 1).float(), (moved.pixels[:, 0] * 255))
    for mask, box in zip(moved.masks, moved.boxes[:, 0], strict=True):
        if (mask == 1).any():
            assert torch.equal(extent(mask), box)
    assert not torch.equal(moved.masks, masks)


def test_masks_go_with_the_pictures_and_are_void_outside() -> None:
    labels = torch.randint(0, 3, (8, 6, 6), generator=seeded(1)).repeat_interleave(8, 1)
    masks = labels.repeat_interleave(8, 2).to(torch.uint8)
    config = dataclasses.replace(EVERYTHING, brightness=0, contrast=0, saturation=0, hue=0)
    config = dataclasses.replace(config, cutout=0, zoom_out=0.5, zoom_in=2.0)
    moved = augment_together(masks[:, None] * 100, seeded(), config, masks=masks)
    assert moved.masks is not None
    assert moved.masks.dtype == torch.uint8
    assert set(moved.masks.unique().tolist()) == {0, 1, 2, VOID}
    # Where the picture is uniform, its value says which label it had.
    value = moved.pixels[:, 0] * 255
    pure = ((value - value.round()).abs() < 1e-3) & (value.round().remainder(100) == 0)
    inside = pure & (moved.masks != VOID)
    right = (value / 100).round() == moved.masks
    assert (right & inside).sum() > 0.97 * inside.sum()
    assert inside.float().mean() > 0.2
    assert moved.pixels[:, 0][moved.masks == VOID].mean() < 0.02


def test_rotated_boxes_hold_all_that_was_theirs() -> None:
    boxes = some_boxes(16, 1, 48, 48)
    masks = drawn(boxes[:, 0], 48, 48)
    moved = augment_together(
        torch.zeros(16, 1, 48, 48),
        seeded(),
        AugmentConfig(rotation=45),
        visible=0.0,
        masks=masks,
        boxes=boxes,
    )
    assert moved.masks is not None
    assert moved.boxes is not None
    for mask, box, old in zip(moved.masks, moved.boxes[:, 0], boxes[:, 0], strict=True):
        around = extent(mask)
        assert (around[:2] >= box[:2] - 1).all()
        assert (around[2:] <= box[2:] + 1).all()
        # At the corners the hull touches: it is no larger than it must be.
        inner = (box > 1) & (box < 47)
        sides = old[2:] - old[:2]
        if inner.all() and sides.min() > 6:
            assert (around - box).abs().max() <= 2.5


def test_a_quarter_turn_counter_clockwise() -> None:
    # The generator's draws decide the angle; the box says which way the picture turned.
    picture = torch.zeros(64, 1, 41, 41)
    picture[:, :, 18:23, 36:] = 1  # on the right
    boxes = torch.tensor([[36.0, 18, 41, 23]]).expand(64, 1, 4)
    moved = augment_together(picture, seeded(), AugmentConfig(rotation=90), boxes=boxes)
    assert moved.boxes is not None
    rows = torch.arange(41.0)[None, :, None] + 0.5
    weight = moved.pixels[:, 0]
    middle = (weight * rows).sum((1, 2)) / weight.sum((1, 2))
    box_middle = moved.boxes[:, 0, [1, 3]].mean(1)
    assert (middle - box_middle).abs().max() < 1.5
    assert middle.min() < 8
    assert middle.max() > 33


def test_nothing_moves_when_all_is_off() -> None:
    pixels = torch.randint(0, 256, (3, 3, 9, 14), dtype=torch.uint8, generator=seeded())
    masks = torch.randint(0, 5, (3, 9, 14), dtype=torch.uint8, generator=seeded())
    boxes = some_boxes(3, 2, 9, 14)
    generator = seeded(4)
    before = generator.get_state()
    moved = augment_together(pixels, generator, AugmentConfig(), masks=masks, boxes=boxes)
    assert torch.equal(moved.pixels, pixels.float() / 255)
    assert moved.masks is masks
    assert moved.boxes is not None
    assert torch.equal(moved.boxes, boxes)
    assert torch.equal(generator.get_state(), before)


def test_colours_change_the_picture_alone() -> None:
    pixels = torch.randint(0, 256, (3, 3, 9, 14), dtype=torch.uint8, generator=seeded())
    masks = torch.randint(0, 5, (3, 9, 14), dtype=torch.uint8, generator=seeded())
    config = AugmentConfig(brightness=0.5, hue=0.2, cutout=0.3)
    moved = augment_together(pixels, seeded(4), config, masks=masks)
    assert torch.equal(moved.pixels, augment(pixels, seeded(4), config))
    assert moved.masks is masks


@pytest.mark.parametrize("zoom", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("config", [EVERYTHING, AugmentConfig(shift=0.2, flip=0.5)])
def test_shares_get_the_numbers_of_the_whole(
    config: AugmentConfig, zoom: tuple[float, float]
) -> None:
    config = dataclasses.replace(config, zoom_out=zoom[0], zoom_in=zoom[1])
    pixels = torch.randint(0, 256, (6, 3, 20, 24), dtype=torch.uint8, generator=seeded())
    masks = torch.randint(0, 5, (6, 20, 24), dtype=torch.uint8, generator=seeded())
    boxes = some_boxes(6, 3, 20, 24)
    whole = augment_together(pixels, seeded(7), config, masks=masks, boxes=boxes)
    again = augment_together(pixels, seeded(7), config, masks=masks, boxes=boxes)
    for one, other in zip(whole, again, strict=True):
        assert one is not None
        assert torch.equal(one, other)
    for first, last in ((0, 2), (2, 5), (5, 6)):
        part = slice(first, last)
        own = augment_together(
            pixels[part],
            seeded(7),
            config,
            masks=masks[part],
            boxes=boxes[part],
            share=Share(first, last, 6),
        )
        for one, other in zip(own, whole, strict=True):
            assert one is not None
            assert other is not None
            torch.testing.assert_close(one, other[part], atol=1e-6, rtol=0)


def test_flips_can_be_given() -> None:
    flipped = torch.tensor([True, False, True, False])
    boxes = torch.tensor([[[1.0, 2, 4, 6]]]).expand(4, 1, 4)
    config = AugmentConfig(flip=0.5)
    moved = augment_together(
        torch.zeros(4, 1, 8, 10), seeded(), config, flipped=flipped, boxes=boxes
    )
    assert moved.boxes is not None
    assert moved.boxes[:, 0, 0].tolist() == [6, 1, 6, 1]


def test_zoom_shows_a_part_or_keeps_all() -> None:
    boxes = torch.tensor([[0.0, 0, 30, 20]]).expand(200, 1, 4)
    pixels = torch.ones(200, 1, 20, 30)
    out = augment_together(pixels, seeded(), AugmentConfig(zoom_out=0.25), boxes=boxes)
    assert out.boxes is not None
    factor = (out.boxes[:, 0, 2] - out.boxes[:, 0, 0]) / 30
    assert factor.min() < 0.3
    assert factor.max() > 0.8
    area = out.pixels.mean((1, 2, 3))
    torch.testing.assert_close(area, factor**2, atol=0.03, rtol=0.1)
    masks = torch.zeros(200, 20, 30, dtype=torch.uint8)
    near = augment_together(pixels, seeded(), AugmentConfig(zoom_in=3.0), masks=masks)
    assert near.masks is not None
    assert near.masks.max() == 0


def test_boxes_that_are_hardly_visible_are_dropped() -> None:
    boxes = torch.tensor(
        [
            *([0.0, 0, 10, 10], [-5, 0, 5, 10], [-9, 0, 1, 10], [12, 12, 14, 14]),
            *([3, 3, 3, 8], [8, 8, 2, 2], [float("nan")] * 4),
        ]
    )
    inside, kept = clipped_boxes(boxes, 10, 10, visible=0.3)
    assert kept.tolist() == [True, True, False, False, False, False, False]
    assert inside[1].tolist() == [0, 0, 5, 10]


def test_what_does_not_fit_is_refused() -> None:
    pixels = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ConfigError, match="masks and boxes cannot be mixed"):
        augment_together(pixels, seeded(), AugmentConfig(mixup=0.2))
    config = AugmentConfig(shift=0.2, padding="reflect")
    with pytest.raises(ConfigError, match="mirrored objects without boxes"):
        augment_together(pixels, seeded(), config, boxes=torch.zeros(2, 1, 4))
    with pytest.raises(ShapeError, match=r"masks must be uint8 of shape \(2, 8, 8\)"):
        augment_together(pixels, seeded(), AugmentConfig(), masks=torch.zeros(2, 8, 8))
    with pytest.raises(ShapeError, match=r"boxes must have shape \(2, M, 4\)"):
        augment_together(pixels, seeded(), AugmentConfig(), boxes=torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"pixels must have shape \(B, C, H, W\)"):
        augment_together(pixels[0], seeded(), AugmentConfig())
