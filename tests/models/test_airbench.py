import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.airbench import ENTRIES, Airbench, airbench94, whitening_filters


def smooth_pictures(count: int, channels: int = 3, size: int = 12) -> Tensor:
    """Pictures whose neighbouring pixels and channels are alike, as those of photographs are."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, channels, size + 2, size + 2, generator=generator)
    return 3 * F.avg_pool2d(noise + 0.5 * noise.roll(1, dims=1), 3, 1)


def patches_of(pictures: Tensor) -> Tensor:
    """(M, C·2·2), written out."""
    views = [pictures[:, :, y : y - 1 or None, x : x - 1 or None] for y in (0, 1) for x in (0, 1)]
    return torch.stack(views, dim=2).flatten(1, 2).movedim(1, -1).flatten(0, -2)


def test_parameters_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        net = airbench94()
    channels = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    by_hand = 24 * (2 * 2 * 3 + 1) + sum(9 * i * o + 2 * o for i, o in channels) + 256 * 10
    assert sum(p.numel() for p in net.parameters()) == by_hand
    (published,) = (p for p in ENTRIES[0].published if p.quantity == "params")
    assert abs(by_hand / published.value - 1) <= published.within


def test_fixed_are_the_whitening_filters_and_the_scales_of_the_norms() -> None:
    net = airbench94(widths=(4, 8, 8))
    fixed = {name for name, p in net.named_parameters() if not p.requires_grad}
    norms = {name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 6
    assert fixed == {"whiten.weight"} | {f"{name}.weight" for name in norms}


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_it_is_the_composition_of_the_paper(activation: str) -> None:
    torch.manual_seed(0)
    net = airbench94(7, widths=(4, 8, 6), activation=activation)
    act = F.gelu if activation == "gelu" else F.relu
    x = torch.randn(3, 3, 32, 32)
    y = act(F.conv2d(x, net.whiten.weight, net.whiten.bias))
    for block in (net.block1, net.block2, net.block3):
        y = F.max_pool2d(F.conv2d(y, block.conv1.weight, padding=1), 2)
        y = act(F.batch_norm(y, None, None, bias=block.norm1.bias, training=True, eps=1e-12))
        y = F.conv2d(y, block.conv2.weight, padding=1)
        y = act(F.batch_norm(y, None, None, bias=block.norm2.bias, training=True, eps=1e-12))
    expected = F.max_pool2d(y, 3).flatten(1) @ net.fc.weight.T / 9
    torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


def test_convolutions_begin_as_the_identity() -> None:
    torch.manual_seed(0)
    net = airbench94(widths=(8, 40, 16))
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(net.block2.conv1(x)[:, :8], x)
    assert not torch.allclose(net.block2.conv1(x)[:, 8:16], x)
    narrowing = net.block3.conv1  # 40 channels, of which 16 are left
    x = torch.randn(2, 40, 5, 5)
    torch.testing.assert_close(narrowing(x), x[:, :16])


def test_whitened_patches_are_uncorrelated() -> None:
    pictures = smooth_pictures(700)
    filters = whitening_filters(pictures, 2)
    assert filters.shape == (24, 3, 2, 2)
    torch.testing.assert_close(filters[12:], -filters[:12], rtol=0, atol=0)
    covariance = torch.cov(patches_of(pictures).double().T)
    rows = filters[:12].flatten(1).double()
    # Each response has the variance λ / (λ + 0.0005) and shares none with the others.
    found = rows @ covariance @ rows.T
    spectrum = torch.linalg.eigvalsh(covariance).flip(0)
    torch.testing.assert_close(
        found, torch.diag(spectrum / (spectrum + 5e-4)), rtol=1e-3, atol=1e-3
    )


def test_constant_pictures_give_finite_filters() -> None:
    assert whitening_filters(torch.full((4, 1, 6, 6), 0.3), 2).isfinite().all()


def test_initialize_from_changes_the_first_filters_alone() -> None:
    net = airbench94(in_channels=1, image_size=12, widths=(4, 4, 4))
    before = copy.deepcopy(net.state_dict())
    pictures = smooth_pictures(50, channels=1)
    net.initialize_from(pictures)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"whiten.weight"}
    torch.testing.assert_close(net.whiten.weight.detach(), whitening_filters(pictures, 2))
    assert net.whiten.weight.requires_grad is False
    other = airbench94(in_channels=1, image_size=12, widths=(4, 4, 4))
    other.load_state_dict(net.state_dict())
    assert isinstance(other, Airbench)
    torch.testing.assert_close(other.eval()(pictures), net.eval()(pictures), rtol=0, atol=0)


@pytest.mark.parametrize("size", [9, 17, 32, 64])
def test_any_size_from_9_px(size: int) -> None:
    assert airbench94(image_size=size, widths=(4, 4, 4))(torch.randn(2, 3, size, size)).shape == (
        2,
        10,
    )


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="a picture of 8 px does not fit airbench94, whose 2×2"):
        airbench94(image_size=8)
    with pytest.raises(ConfigError, match="widths must be three numbers of at least 1, received"):
        airbench94(widths=(4, 4))
    with pytest.raises(ConfigError, match="activation must be one of gelu, relu, received 'tanh'"):
        airbench94(activation="tanh")  # type: ignore[arg-type]
