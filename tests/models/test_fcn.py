"""FCN against the paper, the authors' networks for Caffe, and bilinear interpolation."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.fcn import ENTRIES, FCN, PAPER_CROPS, fcn8s, fcn16s, fcn32s
from convolens.models.fcn_body import ResNetBody, VGGBody, load_body
from convolens.models.resnet import resnet18
from convolens.models.vgg import vgg16

SIZES = ((1, 1), (31, 33), (97, 250), (224, 224), (500, 375))
STRIDES, BUILDERS = (32, 16, 8), (fcn32s, fcn16s, fcn8s)


def on_meta(builder, **options: object) -> FCN:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        return builder(**options).eval()


def num_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.builder.__name__)
def test_pictures_of_every_size_give_logits_of_that_size(entry) -> None:  # type: ignore[no-untyped-def]
    net = on_meta(entry.builder, num_classes=5, in_channels=2)
    for height, width in SIZES:
        assert net(torch.empty(2, 2, height, width, device="meta")).shape == (2, 5, height, width)
    for published in entry.published:
        params = num_params(on_meta(entry.builder, **published.options))
        assert published.quantity == "params"
        assert params == pytest.approx(published.value, rel=published.within)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"body": "resnet18", "width": 8}, {"body": "resnet18", "stem": "small"}],
)
def test_every_form_takes_every_size(builder, options) -> None:  # type: ignore[no-untyped-def]
    net = on_meta(builder, **options)
    for height, width in SIZES:
        assert net(torch.empty(1, 3, height, width, device="meta")).shape[2:] == (height, width)


def test_the_table_of_parameters() -> None:
    body = num_params(vgg16_features()) + 4096 * (512 * 49 + 1) + 4096 * (4096 + 1)
    assert body == 134_260_544  # VGG-16 of 138 million without its last layer, of 4,097,000
    scores = 21 * (4096 + 1), 21 * (512 + 1), 21 * (256 + 1)
    ups = {32: (64,), 16: (4, 32), 8: (4, 4, 16)}
    for count, (builder, stride) in enumerate(zip(BUILDERS, STRIDES, strict=True), 1):
        kernels = sum(side * side for side in ups[stride])
        expected = body + sum(scores[:count]) + 21 * kernels
        assert num_params(on_meta(builder)) == expected
        full = num_params(on_meta(builder, per_channel=False))
        assert full == expected + (21 * 21 - 21) * kernels


def vgg16_features() -> nn.Module:
    with torch.device("meta"):
        return vgg16().features


def test_crops_are_the_distances_of_first_units() -> None:
    # Where the first unit's window is centred, in pixels of the picture: 100 px of padding, of
    # which the 3×3 convolution takes one, then half a stride for each 2×2 pooling.
    pools = {0: -99.0}
    for place in range(1, 6):
        pools[place] = pools[place - 1] + 2 ** (place - 1) / 2
    scores = {32: pools[5] + 3 * 32, 16: pools[4], 8: pools[3]}
    for stride, crops in PAPER_CROPS.items():
        levels = [s for s in (32, 16, 8) if s >= stride]
        first = scores[32]
        found = []
        for coarse, fine in pairwise([*levels, 1]):
            factor = coarse // fine
            first -= (2 * factor - 1) / 2 * fine  # a kernel of 2·f reaches so far before it
            target = scores[fine] if fine > 1 else 0
            found.append(
                int((first - target) / fine * -1 if fine == 1 else (first - target) / fine)
            )
        assert tuple(found) == crops


class Ramp(nn.Module):
    """A body whose maps hold the picture's coordinates at which their units are centred."""

    channels, stride = (1, 1, 1), 32

    def __init__(self, first: tuple[float, ...], more: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.more = first, more

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for first, more, stride in zip(self.first, self.more, (8, 16, 32), strict=True):
            rows = first + stride * torch.arange(-(-x.shape[2] // stride) + more)
            maps.append(rows.view(1, 1, -1, 1).expand(1, 1, -1, len(rows)))
        return tuple(maps)


@pytest.mark.parametrize("skips", [0, 1, 2])
@pytest.mark.parametrize("form", ["paper", "same"])
def test_scores_come_out_where_they_were_computed(form: str, skips: int) -> None:
    # Bilinear interpolation keeps a ramp, so each stream gives a pixel its own coordinate.
    if form == "paper":
        body = Ramp((-95.5, -91.5, 12.5), (25, 13, 0))
    else:
        body = Ramp((3.5, 7.5, 15.5), (0, 0, 0))
    crops = PAPER_CROPS[32 >> skips] if form == "paper" else None
    net = FCN(body, 1, skips=skips, crops=crops, per_channel=True)  # type: ignore[arg-type]
    for score in (net.score_fr, net.score_pool4, net.score_pool3)[: skips + 1]:
        assert score is not None
        assert not score.weight.any()
        nn.init.ones_(score.weight)
    with torch.no_grad():
        out = net(torch.zeros(1, 3, 320, 320))
    assert out.shape == (1, 1, 320, 320)
    expected = (skips + 1) * torch.arange(320.0)
    inside = slice(64, 256)
    torch.testing.assert_close(out[0, 0, inside, 160], expected[inside], atol=1e-3, rtol=0)


def test_upsampling_begins_as_interpolation_and_can_learn() -> None:
    torch.manual_seed(0)
    net = fcn32s(3, 3, 96, body="resnet18", width=8).eval()
    nn.init.normal_(net.score_fr.weight)
    x = torch.randn(1, 3, 96, 96)
    coarse = net.score_fr(net.body(x)[2])
    smooth = F.interpolate(coarse, scale_factor=32, mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(x)[:, :, 16:80, 16:80], smooth[:, :, 16:80, 16:80])
    assert all(p.requires_grad for p in net.parameters())
    same = fcn32s(3, 3, 96, body="resnet18", width=8, per_channel=False).eval()
    named = same.state_dict()
    same.load_state_dict(
        {n: v for n, v in net.state_dict().items() if not n.startswith("upscore")}
        | {n: v for n, v in named.items() if n.startswith("upscore")}
    )
    torch.testing.assert_close(same(x), net(x))


def test_every_score_is_zero_at_first() -> None:
    net = fcn8s(4, 1, 32, body="resnet18", width=4)
    assert not net(torch.randn(2, 1, 32, 40)).any()


def test_bodies_have_the_names_of_the_classifiers() -> None:
    with torch.device("meta"):
        vgg, resnet = vgg16().state_dict(), resnet18().state_dict()
        own = VGGBody(3, padding="paper", dropout=0.5).state_dict()
        small = ResNetBody(3, width=64, stem="full").state_dict()
    assert own.keys() == vgg.keys() - {"classifier.6.weight", "classifier.6.bias"}
    assert {n: v.shape for n, v in small.items()} == {
        n: v.shape for n, v in resnet.items() if not n.startswith("fc.")
    }
    assert [n for n in own if own[n].shape != vgg[n].shape] == [
        *("classifier.0.weight", "classifier.3.weight")
    ]


def test_the_weights_of_a_classifier_are_loaded_into_the_body() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        classifier, body = resnet18(num_classes=7).eval(), ResNetBody(3, width=64, stem="full")
        left = load_body(body, classifier.state_dict())
        assert left == ()
        x = torch.randn(1, 3, 64, 64)
        coarsest = body.eval()(x)[2]
        torch.testing.assert_close(classifier.fc(coarsest.mean((2, 3))), classifier(x))
        other = ResNetBody(1, width=64, stem="full")
        assert load_body(other, classifier.state_dict()) == ("conv1.weight",)
        with pytest.raises(ConfigError, match="no tensor fits the body"):
            load_body(body, {"classifier.0.weight": torch.zeros(2, 2)})


def test_affine_layers_become_convolutions() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Sequential(nn.Conv2d(2, 3, 4), nn.ReLU(), nn.Conv2d(3, 5, 1))

    head = Head()
    first, second = nn.Linear(32, 3), nn.Linear(3, 5)
    tensors = {
        **{f"classifier.0.{n}": v for n, v in first.state_dict().items()},
        **{f"classifier.2.{n}": v for n, v in second.state_dict().items()},
    }
    assert load_body(head, tensors) == ()  # type: ignore[arg-type]
    x = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(
        head.classifier(x).flatten(1), second(first(x.flatten(1)).relu()), atol=1e-5, rtol=1e-4
    )


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="body must be one of vgg16, resnet18, received 'vgg'"):
        fcn8s(body="vgg")
    with pytest.raises(ConfigError, match="padding must be one of paper, same, received 'zeros'"):
        fcn8s(padding="zeros")
    with pytest.raises(ConfigError, match="stem must be one of full, small, received 'tiny'"):
        fcn8s(stem="tiny")
    with pytest.raises(ShapeError, match="size must be at least 1"):
        fcn8s(image_size=0)
