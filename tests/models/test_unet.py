"""U-Net against the paper's figure."""

import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.unet import ENTRIES, margins, mirrored, smallest_valid, unet


def on_meta(**options: object) -> nn.Module:
    with torch.device("meta"):
        return unet(**options).eval()


def test_the_figure() -> None:
    volumes: dict[str, tuple[int, ...]] = {}
    net = on_meta(padding="valid")
    for path, module in net.named_modules():
        module.register_forward_hook(
            lambda _, __, out, path=path: volumes.update({path: tuple(out.shape[1:])})
        )
    net(torch.empty(1, *ENTRIES[0].input_size, device="meta"))
    for published in ENTRIES[0].published:
        assert volumes[published.layer] == published.value, published
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convs) == 23  # section 2
    assert sum(p.numel() for p in net.parameters()) == 31_030_658


def test_parameters_by_hand() -> None:
    def block(before: int, after: int) -> int:
        return 9 * before * after + after + 9 * after * after + after

    widths = [64 << i for i in range(5)]
    down = sum(block(a, b) for a, b in zip([1, *widths], widths, strict=False))
    up = sum(4 * 2 * w * w + w + block(2 * w, w) for w in widths[:-1])
    assert sum(p.numel() for p in on_meta().parameters()) == down + up + 64 * 2 + 2


@pytest.mark.parametrize("options", [{}, {"padding": "mirror"}, {"stem_stride": 2}, {"depth": 2}])
def test_pictures_of_every_size_give_logits_of_that_size(options: dict) -> None:
    net = unet(5, 3, 64, width=2, norm=True, **options).eval()
    for height, width in ((1, 1), (2, 3), (31, 33), (45, 61), (64, 64)):
        with torch.no_grad():
            assert net(torch.randn(2, 3, height, width)).shape == (2, 5, height, width)


def test_mirroring_gives_the_unpadded_logits_where_nothing_is_mirrored() -> None:
    torch.manual_seed(0)
    plain = unet(3, 1, 64, width=4, depth=2, padding="valid").eval()
    whole = unet(3, 1, 64, width=4, depth=2, padding="mirror").eval()
    whole.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 84, 92)
    before, after = margins(44, 2)
    assert (before, after) == (20, 20)
    with torch.no_grad():
        inner, out = plain(x), whole(x)
    assert inner.shape[2:] == (44, 52)
    torch.testing.assert_close(out[:, :, 20:64, 20:72], inner, atol=1e-5, rtol=1e-5)


def test_margins_are_those_of_the_figure() -> None:
    assert margins(388, 4) == (92, 92)
    assert smallest_valid(4) == 188  # 572 − 24·16
    for side in range(1, 40):
        before, after = margins(side, 3)
        assert 0 <= after - before < 8
        assert (before + side + after - 28) % 8 == 0


def test_mirroring_is_reflection_as_far_as_that_goes() -> None:
    x = torch.randn(2, 3, 9, 12)
    expected = nn.functional.pad(x, (11, 10, 8, 7), mode="reflect")
    assert torch.equal(mirrored(x, (8, 7), (11, 10)), expected)
    far = mirrored(x, (40, 0), (0, 0))
    assert torch.equal(far[:, :, 0], x[:, :, 8])  # 40 = 2·16 + 8
    assert mirrored(x[:, :, :1, :1], (5, 5), (3, 2)).shape == (2, 3, 11, 6)


def test_a_copy_reaches_each_level() -> None:
    net = unet(2, 1, 16, width=2, depth=2, dropout=0.0)
    seen: list[Tensor] = []
    for merge in net.merge:
        merge.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    maps = net._contract(x := torch.randn(1, 1, 16, 16))
    net(x)
    assert torch.equal(seen[0][:, :4], maps[1])
    assert torch.equal(seen[1][:, :2], maps[0])


def test_options_and_words() -> None:
    dropped = [m.p for m in on_meta(dropout=0.2).modules() if isinstance(m, nn.Dropout)]
    assert dropped == [0.2]
    norms = [m for m in on_meta(norm=True).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 18
    with pytest.raises(ConfigError, match="padding must be one of same, mirror, valid"):
        unet(padding="zeros")
    with pytest.raises(ConfigError, match="depth must be at least 1, received 0"):
        unet(depth=0)
    with pytest.raises(ShapeError, match=r"of 187 px does not fit .* at least 188 px"):
        unet(padding="valid", image_size=187)
