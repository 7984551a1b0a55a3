import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models import MODELS, lenet5, simple_convnet
from convolens.nn.convolutionalize import convolutionalize
from convolens.nn.maxout import Maxout
from convolens.nn.pooling import GlobalAveragePool, SpatialPyramidPool

# A side at which the tests have enough pixels and little work; others take their own size.
SIDES = {"alexnet": 67, "zfnet": 63, "nin": 67, "googlenet": 64}
SMALL = ("vgg", "resnet1", "resnet3", "plain", "densenet1", "densenet2")
GIANTS = ("resnet101", "resnet152", "resnet110", "densenet1", "densenet2", "vgg")


def side_of(name: str, own: int) -> int:
    if name in SIDES:
        return SIDES[name]
    return 64 if own >= 200 and name.startswith((*SMALL, "resnet50")) else own


def calibrated(net: nn.Module, x: Tensor) -> nn.Module:
    """Batch norm with the statistics of x: untrained deep networks would let x vanish."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(x)
    return net.eval()


def assert_equal_at_its_size(net: nn.Module, size: tuple[int, ...]) -> nn.Module:
    """Checks the same scores at `size`, and the state; gives the converted network."""
    net = net.double()
    x = torch.randn(3, *size, dtype=torch.float64)
    calibrated(net, x)
    before = copy.deepcopy(net.state_dict())
    converted = convolutionalize(net, size)
    with torch.no_grad():
        expected, heat = net(x), converted(x)
    assert heat.shape == (*expected.shape, *(1 for _ in size[1:]))
    assert expected.std(0).max() > 0
    torch.testing.assert_close(heat.flatten(1), expected, atol=1e-10, rtol=1e-10)
    assert not converted.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in converted.state_dict().items():
        assert torch.equal(value.flatten(), before[name].flatten())
    return converted


CLASSIFIERS = sorted(name for name, entry in MODELS.items() if entry.task == "classify")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_network_of_ours(name: str) -> None:
    entry = MODELS[name]
    channels, own, _ = entry.input_size
    side = side_of(name, own)
    if name.startswith(GIANTS):
        with torch.device("meta"):
            net = entry.builder(num_classes=5, image_size=side).eval()
        heat = convolutionalize(net, (channels, side, side))(
            torch.empty(1, channels, 3 * side, side, device="meta")
        )
        assert heat.shape[:2] == (1, 5)
        assert heat.shape[2] > 1
        assert heat.shape[3] == 1
    else:
        assert_equal_at_its_size(
            entry.builder(num_classes=5, image_size=side), (channels, side, side)
        )


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("alexnet", 96),  # pooling from 2×2 to 6×6
        ("vgg11", 64),
        ("resnet18", 64),
        ("squeezenet1_1", 64),
        ("densenet121", 32),
        ("mobilenet_v3_small", 64),  # squeeze-and-excitation
    ],
)
def test_networks_of_torchvision(name: str, side: int) -> None:
    if name == "vgg11":  # with a narrow classifier, to be quick
        with torch.device("meta"):
            net = torchvision.models.vgg11()
            net.classifier = nn.Sequential(nn.Linear(512 * 49, 16), nn.ReLU(), nn.Linear(16, 7))
        net.to_empty(device="cpu")
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=(parameter[0].numel() / 2) ** -0.5)
    else:
        net = getattr(torchvision.models, name)(num_classes=7)
    converted = assert_equal_at_its_size(net, (3, side, side))
    with torch.no_grad():
        assert converted(torch.zeros(1, 3, side + 64, side, dtype=torch.float64)).shape[2] >= 2


@pytest.mark.parametrize(
    ("builder", "size", "stride"), [(lenet5, (1, 32, 32), 4), (simple_convnet, (1, 28, 28), 2)]
)
def test_without_padding_every_score_is_that_of_the_crop(
    builder: Callable[[], nn.Module], size: tuple[int, int, int], stride: int
) -> None:
    net = builder().double()
    side = size[1]
    picture = torch.rand(1, 1, side + 3 * stride, side + 2 * stride, dtype=torch.float64)
    with torch.no_grad():
        heat = convolutionalize(net, size)(picture)
        crops = [
            net(picture[..., y * stride : y * stride + side, x * stride : x * stride + side])
            for y in range(4)
            for x in range(3)
        ]
    torch.testing.assert_close(heat[0].flatten(1).T, torch.cat(crops), atol=1e-12, rtol=1e-12)


def features(channels: int = 4) -> list[nn.Module]:
    return [nn.Conv2d(2, channels, 3), nn.ReLU()]


class Written(nn.Module):
    """A network whose head is written by hand after a convolution of (4, 6, 6)."""

    def __init__(self, head: Callable[..., Tensor], inputs: int = 4, **layers: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.fc = nn.Linear(inputs, 3)
        self.head = head
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self, self.conv(x))


WRITTEN: dict[str, nn.Module] = {
    "flatten": Written(lambda net, x: net.fc(torch.flatten(x, 1)), 144),
    "view": Written(lambda net, x: net.fc(x.view(x.size(0), -1)), 144),
    "reshape": Written(lambda net, x: net.fc(x.reshape(-1, 144).relu() * 2 + 1), 144),
    "mean": Written(lambda net, x: net.fc(x.mean((2, 3)))),
    "mean, mean": Written(lambda net, x: net.fc(x.mean(-1).mean(-1))),
    "view and mean": Written(lambda net, x: net.fc(x.view(x.size(0), 4, -1).mean(2))),
    "amax": Written(lambda net, x: net.fc(torch.amax(x, dim=[-2, -1]))),
    "kept mean": Written(lambda net, x: net.fc(x.mean((2, 3), keepdim=True).flatten(1))),
    "squeeze": Written(lambda net, x: net.fc(F.adaptive_avg_pool2d(x, 1).squeeze(3).squeeze(2))),
    "size of the map": Written(
        lambda net, x: net.fc(F.avg_pool2d(x, kernel_size=x.size()[2:]).view(x.size(0), -1))
    ),
    "functional": Written(
        lambda net, x: F.log_softmax(net.fc(F.dropout(x.flatten(1), 0.5, net.training)), dim=1), 144
    ),
    "two pools": Written(
        lambda net, x: net.fc(
            torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1).flatten(1)
        ),
        8,
    ),
    "gate": Written(
        lambda net, x: net.fc(
            (x * net.gate(F.adaptive_avg_pool2d(x, 1).flatten(1))[:, :, None, None]).flatten(1)
        ),
        144,
        gate=nn.Linear(4, 4),
    ),
    "residual head": Written(
        lambda net, x: net.fc(net.a(x.flatten(1)) + net.b(x.flatten(1))), 9,
        a=nn.Linear(144, 9), b=nn.Linear(144, 9),
    ),
    "global average block": nn.Sequential(*features(), GlobalAveragePool(), nn.Linear(4, 3)),
    "no affine layer": nn.Sequential(*features(), GlobalAveragePool(flatten=False), nn.Flatten()),
    "flat scores": nn.Sequential(*features(), nn.Flatten()),
    "pyramid": nn.Sequential(*features(), SpatialPyramidPool((3, 1)), nn.Linear(40, 3)),
    "pool in two": nn.Sequential(
        *features(), nn.AdaptiveMaxPool2d((3, 2)), nn.Flatten(), nn.Linear(24, 3)
    ),
    "uneven pool": nn.Sequential(
        *features(), nn.AdaptiveAvgPool2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "batch norm": nn.Sequential(
        *features(), nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 8), nn.BatchNorm1d(8),
        nn.PReLU(8), nn.Dropout(), nn.Linear(8, 3, bias=False), nn.Softmax(dim=1),
    ),
    "layer norm, maxout": nn.Sequential(
        *features(), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 8), Maxout(2),
        nn.Linear(4, 3), nn.LogSoftmax(-1),
    ),
    "maxout of a flat volume": nn.Sequential(
        *features(), nn.Flatten(), Maxout(3), nn.Linear(48, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_heads_as_people_write_them(kind: str) -> None:
    converted = assert_equal_at_its_size(WRITTEN[kind], (2, 8, 8))
    net = WRITTEN[kind]
    picture = torch.rand(1, 2, 11, 9, dtype=torch.float64)
    if kind == "gate":  # it goes on to look at the whole picture
        assert converted(picture).shape == (1, 3, 4, 2)
        return
    step = 2 if kind == "pool in two" else 1
    with torch.no_grad():
        heat = converted(picture)
        for y in range(heat.shape[2]):
            expected = net(picture[..., step * y : step * y + 8, :8])[0]
            torch.testing.assert_close(heat[0, :, y, 0], expected, atol=1e-12, rtol=1e-12)
    assert heat.shape[2] == (3 // step + 1)


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes(axes: int) -> None:
    conv, norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv3d, nn.BatchNorm3d))[axes // 2]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool3d)[axes // 2]
    net = nn.Sequential(
        conv(1, 4, 3), norm(4), nn.ReLU(), pool(2), nn.Flatten(), nn.Linear(4 * 2**axes, 3)
    )
    converted = assert_equal_at_its_size(net, (1, *[8] * axes))
    assert isinstance(converted.get_submodule("5"), conv)
    assert converted(torch.zeros(1, 1, *[14] * axes).double()).shape == (1, 3, *[3] * axes)


def test_the_head_is_made_of_convolutions_under_the_same_names() -> None:
    net = torchvision.models.alexnet(num_classes=7).requires_grad_(False).train()
    converted = convolutionalize(net, (3, 224, 224))
    kinds = {n: m for n, m in converted.named_modules() if isinstance(m, nn.Conv2d)}
    assert kinds["classifier.1"].kernel_size == (6, 6)
    assert kinds["classifier.4"].kernel_size == kinds["classifier.6"].kernel_size == (1, 1)
    assert not any(isinstance(m, nn.Linear) for m in converted.modules())
    assert converted.get_submodule("classifier.0").training
    assert not any(p.requires_grad for p in converted.parameters())
    theirs = {p.data_ptr() for p in net.parameters()}
    assert not theirs & {p.data_ptr() for p in converted.parameters()}


def test_it_trains_as_the_network_does() -> None:
    class Dropping(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(super().forward(x), 0.5, self.training)

    net = Dropping(
        *features(), nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8), nn.Linear(8, 64)
    ).double()  # fmt: skip
    converted = convolutionalize(net, (2, 8, 8)).train()
    x = torch.rand(4, 2, 8, 8, dtype=torch.float64)
    gradients = []
    for each in (net, converted):
        torch.manual_seed(3)
        y = each(x).flatten(1)
        assert 0.3 < (y == 0).double().mean() < 0.7
        y.square().sum().backward()
        gradients.append({n: p.grad.flatten() for n, p in each.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(net[4].running_mean, converted.get_submodule("4").running_mean)


def test_bad_networks_are_named() -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    class Decider(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            if x.shape[2] > 4:
                y = -y
            return y.flatten(1)

    class Mixes(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y - y.mean(0)

    with pytest.raises(ConfigError, match=r"cannot follow the forward pass of Decider: .*control"):
        convolutionalize(Decider(), (2, 8, 8))
    with pytest.raises(ShapeError, match="Decides does not take a picture of 2×8×8"):
        convolutionalize(Decides(), (2, 8, 8))
    with pytest.raises(ConfigError, match=r"cannot turn mean \(mean\) in the head of Mixes"):
        convolutionalize(Mixes(*features(), nn.Flatten()), (2, 8, 8))
    with pytest.raises(ConfigError, match="Sequential has no place where a volume is flattened"):
        convolutionalize(nn.Sequential(*features()), (2, 8, 8))
    transformer = torchvision.models.VisionTransformer(32, 16, 1, 1, 8, 8)
    with pytest.raises(ConfigError, match="VisionTransformer has no place where a volume"):
        convolutionalize(transformer, (3, 32, 32))
    of_rows = nn.Sequential(*features(), nn.Linear(6, 4), nn.Flatten(), nn.Linear(96, 3))
    with pytest.raises(ConfigError, match="Sequential cannot run on larger pictures: "):
        convolutionalize(of_rows, (2, 8, 8))


def test_a_picture_of_another_size_is_explained() -> None:
    with pytest.raises(
        ShapeError, match=r"Sequential does not take a picture of 1×40×40: .*\nGive"
    ):
        convolutionalize(lenet5(), (1, 40, 40))
    with pytest.raises(ShapeError, match=r"input_size must be \(C, H, W\), received \(32,\)"):
        convolutionalize(lenet5(), (32,))
