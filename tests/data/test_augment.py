"""Augmentation against NumPy and torchvision, and the random numbers behind it."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convolens.data import warp as warp_module
from convolens.data.augment import AugmentConfig, Share, alternating_flips, augment, mix, to_unit
from convolens.data.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from convolens.data.warp import cut_hole_, shift_and_flip, warp
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


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def smooth(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Float pictures without hard edges, so that interpolation differs little between codes."""
    coarse = noise(batch, channels, 5, 5, seed=1).float() / 255
    return torch.nn.functional.interpolate(
        coarse, size=(height, width), mode="bicubic", align_corners=True
    ).clamp(0, 1)


def lit_pixel(config: AugmentConfig, *, batch: int, side: int = 33) -> np.ndarray:
    """(B, 2): how far (down, right) a pixel in the centre of a dark picture has gone."""
    pixels = torch.zeros(batch, 1, side, side, dtype=torch.uint8)
    pixels[:, :, side // 2, side // 2] = 255
    where = augment(pixels, seeded(3), config).flatten(1).argmax(1).numpy()
    return np.stack(np.divmod(where, side), axis=1) - side // 2


@pytest.mark.parametrize(
    ("padding", "numpy_mode"), [("zeros", "constant"), ("reflect", "reflect"), ("edge", "edge")]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("copied_from_px", [0, 1 << 40])
def test_shift_and_flip_agree_with_numpy(
    padding, numpy_mode, dtype, copied_from_px, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(warp_module, "_WORTH_COPIES_PX", copied_from_px)
    pixels = noise(6, 3, 7, 10)
    down, right = torch.tensor([0, 3, -6, 6, -1, 2]), torch.tensor([0, -9, 5, 9, 1, -4])
    flip, over = torch.arange(6) % 2 == 1, torch.arange(6) % 3 == 2
    moved = shift_and_flip(
        pixels.to(dtype),
        down=down,
        right=right,
        flip=flip,
        vertical_flip=over,
        padding=padding,
    )
    assert moved.dtype == dtype
    for i in range(6):
        expected = pixels[i].numpy()
        if flip[i]:
            expected = np.flip(expected, axis=2)
        if over[i]:
            expected = np.flip(expected, axis=1)
        expected = np.pad(expected, ((0, 0), (6, 6), (9, 9)), mode=numpy_mode)
        y, x = 6 - int(down[i]), 9 - int(right[i])
        np.testing.assert_array_equal(moved[i].float().numpy(), expected[:, y : y + 7, x : x + 10])


@pytest.mark.parametrize("copied_from_px", [0, 1 << 40])
def test_outside_is_filled_with_the_colour_given_per_channel(
    copied_from_px, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(warp_module, "_WORTH_COPIES_PX", copied_from_px)
    still = torch.zeros(1, dtype=torch.bool)
    one = torch.ones(1, dtype=torch.int64)
    moved = shift_and_flip(
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        down=one,
        right=0 * one,
        flip=still,
        vertical_flip=still,
        fill=(1.0, 0.5, 0.0),
    )
    assert moved[0, :, 0].tolist() == [[255] * 4, [128] * 4, [0] * 4]
    assert moved[0, :, 1:].max() == 0
    warped = warp(
        torch.zeros(1, 3, 4, 4),
        degrees=torch.zeros(1),
        widen=torch.ones(1),
        heighten=torch.ones(1),
        down=one,
        right=0 * one,
        fill=(1.0, 0.5, 0.0),
    )
    torch.testing.assert_close(warped[0, :, 0, 0], torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize("padding", ["zeros", "reflect", "edge"])
@pytest.mark.parametrize("size", [(16, 16), (9, 14), (1, 6)])
def test_warp_by_whole_pixels_and_flips_is_shift_and_flip(padding, size):
    height, width = size
    pixels = smooth(4, 3, height, width)
    down = torch.tensor([0, 2, -3, 1]).clamp(1 - height, height - 1)
    right = torch.tensor([1, -4, 0, 3])
    flip, over = torch.tensor([0, 1, 0, 1]).bool(), torch.tensor([0, 0, 1, 1]).bool()
    warped = warp(
        pixels,
        degrees=torch.zeros(4),
        widen=torch.where(flip, -1.0, 1.0),
        heighten=torch.where(over, -1.0, 1.0),
        down=down,
        right=right,
        padding=padding,
        fill=0.25,
    )
    moved = shift_and_flip(
        pixels,
        down=down,
        right=right,
        flip=flip,
        vertical_flip=over,
        padding=padding,
        fill=0.25,
    )
    torch.testing.assert_close(warped, moved, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(24, 24), (18, 31)])
def test_rotation_and_scale_agree_with_torchvision(size):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    pixels = smooth(5, 3, *size)
    degrees, scale = (
        torch.tensor([0.0, 90.0, -37.0, 12.5, 180.0]),
        torch.tensor([1, 1, 0.8, 1.3, 2]),
    )
    down, right = torch.tensor([0, 0, 2, -3, 1]), torch.tensor([0, 0, 5, 1, -2])
    warped = warp(pixels, degrees=degrees, widen=scale, heighten=scale, down=down, right=right)
    for i in range(5):
        # torchvision's affine turns clockwise for positive angles.
        expected = functional.affine(
            pixels[i],
            angle=-float(degrees[i]),
            translate=[float(right[i]), float(down[i])],
            scale=float(scale[i]),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(warped[i], expected, atol=2e-4, rtol=0)
    turned = functional.rotate(pixels[3], 12.5, interpolation=InterpolationMode.BILINEAR)
    still = torch.zeros(1)
    mine = warp(
        pixels[3:4],
        degrees=degrees[3:4],
        widen=still + 1,
        heighten=still + 1,
        down=still,
        right=still,
    )
    torch.testing.assert_close(mine[0], turned, atol=2e-4, rtol=0)


def test_widening_twice_and_halving_the_height_draws_a_square_as_a_flat_rectangle():
    pixels = torch.zeros(1, 1, 41, 41)
    pixels[:, :, 15:26, 15:26] = 1
    still = torch.zeros(1)
    flat = warp(
        pixels, degrees=still, widen=still + 2, heighten=still + 0.5, down=still, right=still
    )
    rows, columns = (flat[0, 0] > 0.5).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 22, 10, 30)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_factors_agree_with_torchvision(name, factor):
    from torchvision.transforms.v2 import functional

    ours = {
        "brightness": adjust_brightness,
        "contrast": adjust_contrast,
        "saturation": adjust_saturation,
    }[name]
    pixels = noise(3, 3, 8, 9).float() / 255
    expected = getattr(functional, f"adjust_{name}")(pixels, factor)
    torch.testing.assert_close(ours(pixels, torch.full((3,), factor)), expected)
    grey_ones = pixels[:, :1]
    expected = getattr(functional, f"adjust_{name}")(grey_ones, factor)
    torch.testing.assert_close(ours(grey_ones, torch.full((3,), factor)), expected)


def test_hue_agrees_with_torchvision_on_every_kind_of_colour():
    from torchvision.transforms.v2 import functional

    levels = torch.tensor([0.0, 0.3, 0.5, 1.0])
    every = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 8, 8)
    for turn in (-0.5, -0.2, 0.0, 0.1, 0.5):
        expected = functional.adjust_hue(every, turn)
        ours = adjust_hue(every, torch.tensor([turn]))
        torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)
    assert torch.equal(adjust_hue(every[:, :1], torch.tensor([0.2])), every[:, :1])


def test_hole_is_a_square_clipped_at_the_border():
    pixels = torch.ones(3, 2, 8, 10)
    cut_hole_(pixels, row=torch.tensor([4, 0, 7]), column=torch.tensor([5, 0, 9]), side=4)
    expected = torch.ones(3, 2, 8, 10)
    expected[0, :, 2:6, 3:7] = 0
    expected[1, :, :2, :2] = 0
    expected[2, :, 5:, 7:] = 0
    assert torch.equal(pixels, expected)


def test_off_is_division_by_255_and_takes_no_random_number():
    pixels, generator = noise(4, 3, 8, 8), seeded(0)
    state = generator.get_state()
    out = augment(pixels, generator, AugmentConfig())
    np.testing.assert_array_equal(out.numpy(), pixels.numpy() / np.float32(255))
    assert torch.equal(generator.get_state(), state)


def test_same_seed_same_pictures_and_another_seed_others():
    pixels = noise(8, 3, 20, 20)
    first = augment(pixels, seeded(5), EVERYTHING)
    assert torch.equal(first, augment(pixels, seeded(5), EVERYTHING))
    assert not torch.equal(first, augment(pixels, seeded(6), EVERYTHING))


@pytest.mark.parametrize("seed", range(3))
def test_random_numbers_of_one_choice_do_not_depend_on_the_others_or_on_the_pictures(seed):
    generator = seeded(seed)
    augment(noise(8, 3, 20, 20), generator, EVERYTHING)
    other = seeded(seed)
    augment(noise(8, 1, 5, 9, seed=9), other, AugmentConfig(flip=0.5))
    assert torch.equal(generator.get_state(), other.get_state())
    flipped = augment(noise(8, 1, 8, 8), seeded(seed), AugmentConfig(flip=0.5))
    more = AugmentConfig(flip=0.5, brightness=1e-9)
    torch.testing.assert_close(augment(noise(8, 1, 8, 8), seeded(seed), more), flipped)


def test_every_shift_is_equally_likely():
    moves = lit_pixel(AugmentConfig(shift=0.0625), batch=4000, side=33)
    for axis in (0, 1):
        values, counts = np.unique(moves[:, axis], return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        # Five standard deviations of a binomial around 800.
        assert np.abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.08


def test_flips_happen_as_often_as_asked():
    pixels = torch.zeros(4000, 1, 2, 2, dtype=torch.uint8)
    pixels[:, :, 0, 0] = 255
    out = augment(pixels, seeded(0), AugmentConfig(flip=0.25, vertical_flip=0.5))
    share = out[:, 0].mean(0)
    expected = torch.tensor([[0.375, 0.125], [0.375, 0.125]])
    assert (share - expected).abs().max() < 0.04


def test_mean_and_range_of_the_colour_and_size_draws():
    even = torch.full((4000, 3, 1, 1), 0.4)
    bright = augment(even, seeded(0), AugmentConfig(brightness=0.5))[:, 0, 0, 0] / 0.4
    assert abs(bright.mean() - 1) < 0.02
    assert 0.5 <= bright.min() < 0.51
    assert 1.49 < bright.max() <= 1.5
    square = torch.zeros(1000, 1, 41, 41)
    square[:, :, 10:31, 10:31] = 1
    sizes = augment(square, seeded(0), AugmentConfig(scale=0.2)).sum((1, 2, 3)).sqrt() / 21
    assert abs(sizes.mean() - 1) < 0.02
    assert (0.79 < sizes.min() < 0.82, 1.18 < sizes.max() < 1.21) == (True, True)
    areas = augment(square, seeded(0), AugmentConfig(stretch=0.5)).sum((1, 2, 3)) / 441
    assert (areas - 1).abs().max() < 0.02


def test_turns_stay_within_the_angle_and_go_to_both_sides():
    pixels = torch.zeros(500, 1, 65, 65)
    pixels[:, :, 32, 60] = 1
    out = augment(pixels, seeded(0), AugmentConfig(rotation=45))
    y, x = np.divmod(out.flatten(1).argmax(1).numpy(), 65)
    degrees = np.rad2deg(np.arctan2(32 - y, x - 32))
    assert (-47 < degrees.min() < -42, 42 < degrees.max() < 47) == (True, True)
    assert abs(degrees.mean()) < 5


@pytest.mark.parametrize("padding", ["zeros", "reflect", "edge"])
def test_memory_format_changes_nothing_but_the_layout(padding):
    pixels = noise(5, 3, 12, 17)
    last = pixels.contiguous(memory_format=torch.channels_last)
    integer = AugmentConfig(shift=0.2, flip=0.5, cutout=0.3, padding=padding)
    for config in (integer, dataclasses.replace(EVERYTHING, padding=padding)):
        out = augment(last, seeded(2), config)
        assert out.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(out, augment(pixels, seeded(2), config))


@pytest.mark.parametrize("config", [EVERYTHING, AugmentConfig(shift=0.2, cutout=0.5)])
def test_floats_keep_their_dtype_and_the_input_is_left_as_it_was(config):
    pixels = noise(4, 3, 16, 16)
    exact = augment(pixels, seeded(4), config)
    for dtype, atol in ((torch.float32, 1e-6), (torch.bfloat16, 0.1)):
        floats = to_unit(pixels).to(dtype)
        before = floats.clone()
        out = augment(floats, seeded(4), config)
        assert out.dtype == dtype
        assert torch.equal(floats, before)
        # Hue is an angle: where a colour is nearly grey, rounding may turn it freely.
        assert (out.float() - exact).abs().mean() < atol
    floats = to_unit(pixels)
    before = floats.clone()
    augment(floats, seeded(4), AugmentConfig(cutout=0.5))
    assert torch.equal(floats, before)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    value=st.sampled_from([0, 255, None]),
    shift=st.sampled_from([0.0, 0.3, 0.99]),
    warped=st.sampled_from([0.0, 0.9]),
    colour=st.sampled_from([0.0, 1.0, 50.0]),
    cutout=st.sampled_from([0.0, 0.01, 1.0]),
    padding=st.sampled_from(["zeros", "reflect", "edge"]),
    seed=st.integers(0, 1000),
)
def test_any_setting_on_any_picture_gives_numbers_from_0_to_1(
    batch, channels, height, width, value, shift, warped, colour, cutout, padding, seed
):
    config = AugmentConfig(
        shift=shift,
        flip=0.5,
        vertical_flip=0.5,
        rotation=180 * warped,
        scale=warped,
        stretch=10 * warped,
        brightness=colour,
        contrast=colour,
        saturation=colour,
        hue=min(0.5, colour),
        cutout=cutout,
        padding=padding,
    )
    if value is None:
        pixels = noise(batch, channels, height, width, seed=seed)
    else:
        pixels = torch.full((batch, channels, height, width), value, dtype=torch.uint8)
    out = augment(pixels, seeded(seed), config, fill=1.0)
    assert out.shape == pixels.shape
    assert out.dtype == torch.float32
    assert out.min() >= -1e-5
    assert out.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(mixup=0.2),
        AugmentConfig(mixup=1.0),
        AugmentConfig(cutmix=1.0),
        AugmentConfig(cutmix=0.001),
        AugmentConfig(mixup=1000.0, cutmix=1000.0),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (7, 12)])
def test_mixed_targets_are_the_shares_of_the_pictures_pixels(config, size):
    # Picture i is white in channel i and black elsewhere, so a channel's mean is the share of
    # picture i, and that must be the weight of label i.
    batch = 12
    pixels = torch.eye(batch)[:, :, None, None].expand(batch, batch, *size).contiguous()
    for seed in range(4):
        mixed, targets = mix(pixels, torch.eye(batch), seeded(seed), config)
        torch.testing.assert_close(mixed.mean((2, 3)), targets, atol=1e-5, rtol=0)
        torch.testing.assert_close(targets.sum(1), torch.ones(batch))
        assert targets.min() >= 0


def test_cutmix_pastes_one_rectangle_of_one_other_picture():
    pixels = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 20, 30)
    mixed, _ = mix(pixels, torch.eye(10), seeded(1), AugmentConfig(cutmix=1.0))
    changed = (mixed != pixels)[:, 0]
    assert changed.any((1, 2)).sum() >= 7
    for i in range(10):
        rows, columns = changed[i].any(1).sum(), changed[i].any(0).sum()
        assert changed[i].sum() == rows * columns
        assert len(mixed[i][changed[i][None]].unique()) <= 1


def test_mixing_is_seeded_and_both_kinds_take_turns():
    pixels = torch.rand(6, 3, 8, 8, generator=seeded(0))
    config = AugmentConfig(mixup=1.0, cutmix=1.0)
    kinds = []
    for seed in range(40):
        mixed, targets = mix(pixels, torch.eye(6), seeded(seed), config)
        again, same = mix(pixels, torch.eye(6), seeded(seed), config)
        assert torch.equal(mixed, again)
        assert torch.equal(targets, same)
        # A paste leaves only values that were there before; a blend makes new ones.
        kinds.append(bool(torch.isin(mixed, pixels).all()))
    assert 8 < sum(kinds) < 32


def test_mean_share_of_mixup_is_a_half_and_small_alphas_blend_little():
    pixels, targets = torch.zeros(4000, 1, 1, 1), torch.zeros(4000, 4000)
    targets.fill_diagonal_(1)
    _, even = mix(pixels, targets, seeded(0), AugmentConfig(mixup=1.0))
    assert abs(even.diagonal().mean() - 0.5) < 0.03
    _, little = mix(pixels, targets, seeded(0), AugmentConfig(mixup=0.01))
    assert (little.amax(1) > 0.99).float().mean() > 0.9


def test_without_mixing_the_same_tensors_come_back():
    pixels, targets = torch.rand(2, 1, 4, 4), torch.eye(2)
    same = mix(pixels, targets, seeded(0), AugmentConfig(flip=0.5))
    assert same[0] is pixels
    assert same[1] is targets


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shift", 1.0, "shift must be a number of at least 0 and below 1, received 1.0"),
        ("flip", -0.1, "flip must be a number from 0 to 1, received -0.1"),
        ("flip", True, "flip must be a number from 0 to 1, received True"),
        ("rotation", 181, "rotation must be a number from 0 to 180 degrees, received 181"),
        ("scale", "big", "scale must be a number of at least 0 and below 1, received 'big'"),
        ("hue", 0.6, "hue must be a number from 0 to 0.5 turns, received 0.6"),
        ("mixup", float("nan"), "mixup must be a finite number of at least 0, received nan"),
        ("contrast", float("inf"), "contrast must be a finite number of at least 0, received inf"),
        ("padding", "wrap", "padding must be one of zeros, reflect, edge, received 'wrap'"),
    ],
)
def test_wrong_settings_are_named(name, value, message):
    with pytest.raises(ConfigError) as caught:
        AugmentConfig(**{name: value})
    assert str(caught.value) == message


def test_wrong_inputs_are_named():
    with pytest.raises(ShapeError) as caught:
        augment(torch.zeros(3, 8, 8), seeded(0), AugmentConfig())
    assert str(caught.value) == (
        "pixels must be uint8 or float of shape (B, C, H, W), "
        "received torch.float32 of shape (3, 8, 8)"
    )
    with pytest.raises(ShapeError) as caught:
        mix(torch.zeros(4, 1, 8, 8), torch.zeros(4).long(), seeded(0), AugmentConfig(mixup=1.0))
    assert str(caught.value) == (
        "targets must be soft labels, float of shape (4, classes), "
        "received torch.int64 of shape (4,)"
    )
    config = AugmentConfig(shift=0.5)
    with pytest.raises(ConfigError) as caught:
        augment(noise(2, 3, 8, 8), seeded(0), config, fill=(0.5, 0.5))
    assert str(caught.value) == (
        "fill must be one value from 0 to 1 or one per channel (3), received (0.5, 0.5)"
    )


ALL = AugmentConfig(
    shift=0.2, flip=0.5, rotation=20, scale=0.1, brightness=0.3, hue=0.1, cutout=0.3, cutmix=1.0
)


@pytest.mark.parametrize("bounds", [(0, 4), (4, 7), (7, 10)])
def test_a_share_of_a_batch_gets_the_numbers_of_the_whole(bounds: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (10, 3, 12, 12), dtype=torch.uint8)
    share = Share(*bounds, total=10)
    whole = augment(pixels, torch.Generator().manual_seed(1), ALL)
    part = augment(share.of(pixels), torch.Generator().manual_seed(1), ALL, share=share)
    torch.testing.assert_close(part, share.of(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [AugmentConfig(mixup=1.0), AugmentConfig(cutmix=1.0)])
def test_a_share_is_mixed_with_its_own_in_the_proportions_of_the_whole(
    config: AugmentConfig,
) -> None:
    shares = [Share(0, 4, total=10), Share(4, 7, total=10), Share(7, 10, total=10)]
    labels = torch.eye(10)  # which shows what each picture was mixed with
    pixels = torch.rand(10, 1, 12, 12)
    kept = mix(pixels, labels, torch.Generator().manual_seed(2), config)[1].diagonal()
    for share in shares:
        generator = torch.Generator().manual_seed(2)
        mixed = mix(share.of(pixels), share.of(labels), generator, config, share=share)[1]
        others = torch.cat([mixed[:, : share.first], mixed[:, share.last :]], dim=1)
        assert not others.any()
        own = mixed[:, share.first : share.last].diagonal()
        single = own == 1  # mixed with itself, in the share or in the whole
        same = (own - share.of(kept)).abs() < 1e-6
        assert (same | single | (share.of(kept) == 1)).all()


ALTERNATING = AugmentConfig(flip=0.5, alternate=True)


def test_alternating_flips_turn_over_from_epoch_to_epoch() -> None:
    places = torch.arange(20_000)
    first, second, third = (alternating_flips(places, e, 7, ALTERNATING) for e in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert abs(float(first.float().mean()) - 0.5) < 0.02
    neighbours = float((first[1:] == first[:-1]).float().mean())
    assert abs(neighbours - 0.5) < 0.02


def test_alternating_flips_belong_to_the_picture_and_the_seed() -> None:
    places = torch.randperm(500, generator=seeded(0))
    whole = alternating_flips(torch.arange(500), 0, 3, ALTERNATING)
    assert torch.equal(alternating_flips(places, 0, 3, ALTERNATING), whole[places])
    assert not torch.equal(alternating_flips(torch.arange(500), 0, 4, ALTERNATING), whole)
    huge = alternating_flips(torch.arange(500), 0, 2**63 - 1, ALTERNATING)
    assert 150 < int(huge.sum()) < 350
    seldom = dataclasses.replace(ALTERNATING, flip=0.1)
    assert 10 < int(alternating_flips(torch.arange(500), 0, 3, seldom).sum()) < 100


@pytest.mark.parametrize("more", [{}, {"shift": 0.2}, {"rotation": 20.0}])
def test_given_flips_are_what_happens(more: dict[str, float]) -> None:
    pixels = noise(6, 3, 8, 8)
    flipped = torch.tensor([True, False, True, True, False, False])
    config = dataclasses.replace(ALTERNATING, **more)
    found = augment(pixels, seeded(1), config, flipped=flipped)
    for rate in (1.0, 0.0):  # all of them, none of them: the other draws are the same
        always = dataclasses.replace(AugmentConfig(**more), flip=rate)
        expected = augment(pixels, seeded(1), always)
        rows = flipped == bool(rate)
        torch.testing.assert_close(found[rows], expected[rows])


def test_alternate_needs_a_flip() -> None:
    with pytest.raises(ConfigError, match="alternate needs flip above 0, received flip 0"):
        AugmentConfig(alternate=True)
    with pytest.raises(ConfigError, match="alternate must be true or false, received 1"):
        AugmentConfig(flip=0.5, alternate=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("out", "into"), [(0.0, 1.0), (1.2, 1.5), (0.5, 0.9), (0.5, math.inf)])
def test_a_zoom_is_a_range_around_one(out: float, into: float) -> None:
    with pytest.raises(ConfigError, match="must be 0 < zoom_out ≤ 1 ≤ zoom_in, received"):
        AugmentConfig(zoom_out=out, zoom_in=into)
