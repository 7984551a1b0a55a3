import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.analysis.summarize import summarize
from convolens.errors import ConfigError, ConvolensError, ShapeError


class Calls(nn.Module):
    """A network whose forward is a function of its modules and its inputs."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.layers, *inputs)


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask


class Stubborn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 1:
            raise ValueError("only grey\npictures here")
        return x


class Asserting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1
        return x


def conv(*args: int, **options: object) -> nn.Conv2d:
    return nn.Conv2d(*args, **options)  # type: ignore[arg-type]


ALEXNET_HEAD = nn.Sequential(
    conv(3, 256, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 10)
)
CASES = {
    "a window larger than its input": (
        nn.Sequential(conv(3, 8, 3, stride=2), nn.MaxPool2d(2), conv(8, 8, 5)),
        (3, 16, 16),
        "Sequential, 2 (Conv2d): reads 8×3×3; along its height, a window of 5 px does not fit into "
        "3 px with 0 px of padding: 3 + 2·0 − 1·(5 − 1) − 1 = -2 < 0",
    ),
    "a dilated window along the width": (
        nn.Sequential(conv(3, 8, (1, 3), padding=(0, 1), dilation=4)),
        (3, 16, 6),
        "Sequential, 0 (Conv2d): reads 3×16×6; along its width, a window of 9 px does not fit into "
        "6 px with 1 px of padding: 6 + 2·1 − 4·(3 − 1) − 1 = -1 < 0",
    ),
    "a pooling larger than its input": (
        nn.Sequential(nn.AvgPool1d(9)),
        (3, 7),
        "Sequential, 0 (AvgPool1d): reads 3×7; along its length, a window of 9 px does not fit "
        "into 7 px with 0 px of padding: 7 + 2·0 − 1·(9 − 1) − 1 = -2 < 0",
    ),
    "channels of a convolution": (
        nn.Sequential(conv(3, 8, 3), nn.ReLU(), conv(16, 8, 3)),
        (3, 16, 16),
        "Sequential, 2 (Conv2d): takes 16 channels, received 8: 8×14×14 from 1 (ReLU)",
    ),
    "channels of a transposed convolution": (
        nn.Sequential(nn.ConvTranspose2d(4, 3, 2)),
        (3, 9, 9),
        "Sequential, 0 (ConvTranspose2d): takes 4 channels, received 3: 3×9×9 from the input",
    ),
    "channels of a batch norm": (
        nn.Sequential(conv(3, 8, 3), nn.BatchNorm2d(9)),
        (3, 16, 16),
        "Sequential, 1 (BatchNorm2d): takes 9 channels, received 8: 8×14×14 from 0 (Conv2d)",
    ),
    "channels of a group norm": (
        nn.Sequential(conv(3, 8, 3), nn.GroupNorm(3, 9)),
        (3, 16, 16),
        "Sequential, 1 (GroupNorm): takes 9 channels, received 8: 8×14×14 from 0 (Conv2d)",
    ),
    "axes of a layer norm": (
        nn.Sequential(nn.LayerNorm((4, 4))),
        (3, 4, 5),
        "Sequential, 0 (LayerNorm): normalizes over the last axes (4, 4), received (1, 3, 4, 5) "
        "from the input",
    ),
    "features after a flatten": (
        ALEXNET_HEAD,
        (3, 12, 12),
        "Sequential, 5 (Linear): expects 256·6·6 = 9,216 features, received 256·5·5 = 6,400: the "
        "volume 256×5×5 of 2 (ReLU), flattened\n"
        "The input has to be of the size that gives 256·6·6 here.",
    ),
    "no flatten at all": (
        nn.Sequential(nn.Linear(768, 10)),
        (3, 16, 16),
        "Sequential, 0 (Linear): expects 768 features, received the volume 3×16×16, not flattened\n"
        "Flatten it first: 3·16·16 = 768.",
    ),
    "features of nowhere": (
        nn.Sequential(nn.Linear(5, 10)),
        (7,),
        "Sequential, 0 (Linear): expects 5 features in the last axis, received 7, in (1, 7) from "
        "the input",
    ),
    "number of axes": (
        nn.Sequential(conv(3, 256, 3)),
        (784,),
        "Sequential, 0 (Conv2d): takes 4 axes (N, C, H, W), received 2: (1, 784) from the input",
    ),
    "a sum of branches": (
        Calls(lambda m, x: m[0](x) + m[1](x), conv(3, 8, 3), conv(3, 8, 3, stride=2)),
        (3, 9, 9),
        "Calls: add: 8×7×7 of layers.0 (Conv2d) + 8×4×4 of layers.1 (Conv2d) do not fit: 7 ≠ 4",
    ),
    "a concatenation of branches": (
        Calls(lambda m, x: torch.cat([x, m[0](x)], 1), conv(3, 8, 3)),
        (3, 9, 9),
        "Calls: cat along axis 1: 3×9×9 of the input and 8×7×7 of layers.0 (Conv2d) do not fit: "
        "9 ≠ 7",
    ),
    "a view": (
        Calls(lambda m, x: m[0](x).view(-1, 9216), conv(3, 8, 3)),
        (3, 9, 9),
        "Calls: view(−1, 9216) does not fit the 392 = 1·8·7·7 numbers of layers.0 (Conv2d): "
        "9,216 do not divide 392",
    ),
    "a functional affine layer": (
        Calls(lambda m, x: F.linear(x.flatten(1), m[0].weight), nn.Linear(9216, 10)),
        (3, 9, 9),
        "Calls: expects 9,216 features, received 3·9·9 = 243: the volume 3×9×9 of the input, "
        "flattened",
    ),
    "a functional convolution": (
        Calls(lambda m, x: F.conv2d(x, m[0].weight), conv(4, 3, 3)),
        (3, 9, 9),
        "Calls: a convolution takes 4 channels, received 3: 3×9×9 of the input",
    ),
    "a functional pooling": (
        Calls(lambda _, x: F.max_pool2d(x, 11)),
        (3, 9, 9),
        "Calls: reads 3×9×9; along its height, a window of 11 px does not fit into 9 px with 0 px "
        "of padding: 9 + 2·0 − 1·(11 − 1) − 1 = -2 < 0",
    ),
    "a matrix product": (
        Calls(lambda _, x: x @ x),
        (9, 8),
        "Calls: matrix product of (1, 9, 8) from",
    ),
    "PyTorch's own first line": (
        nn.LSTM(5, 3),
        (4, 6),
        "LSTM received (1, 4, 6): input.size(-1) must be equal to input_size. Expected 5, got 6",
    ),
    "an exception of Python's": (
        Calls(lambda m, x: m[3](x)),
        (3, 9, 9),
        "Calls received (1, 3, 9, 9): index 3 is out of range",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_are_explained_where_they_do_not_fit(case: str) -> None:
    net, size, expected = CASES[case]
    with pytest.raises(ShapeError) as caught:
        summarize(net, size)
    message = str(caught.value)
    assert message == expected or (expected.endswith("from") and message.startswith(expected))
    assert message.count("\n") <= 1


def test_types_are_explained() -> None:
    with pytest.raises(ShapeError, match=r"has weights of float32, received int64 from the input"):
        summarize(nn.Sequential(conv(3, 8, 3)), (3, 8, 8), dtypes=[torch.int64])
    with pytest.raises(ShapeError, match=r"takes whole numbers, received float32.*\n.*dtypes="):
        summarize(nn.Sequential(nn.Embedding(3, 8)), (8,))


def test_missing_and_further_arguments() -> None:
    with pytest.raises(ConfigError) as caught:
        summarize(Masked(), (3, 9, 9))
    assert str(caught.value) == (
        "Masked: forward(x: torch.Tensor, mask: torch.Tensor) missing 1 required positional "
        "argument: 'mask'; it received 1 tensor\n"
        "--input (input_size) names one shape for each input."
    )
    with pytest.raises(ConfigError, match=r"takes 3 positional arguments but 4 were given"):
        summarize(Masked(), [(3, 9, 9)] * 3)
    with pytest.raises(ConfigError, match=r"got an unexpected keyword argument 'z'"):
        summarize(Masked(), inputs={"x": torch.ones(1), "z": torch.ones(1)})


def test_a_network_that_raises_keeps_its_own_message() -> None:
    with pytest.raises(ConfigError) as caught:
        summarize(nn.Sequential(nn.Identity(), Stubborn()), (3, 9, 9))
    assert re.fullmatch(
        r"Sequential, 1 \(Stubborn\): ValueError: only grey pictures here\n"
        r"It is raised in .*test_explain_error\.py, line \d+\.",
        str(caught.value),
    )
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ConfigError, match=r"Asserting: AssertionError.*\nIt is raised in"):
        summarize(Asserting(), (3, 9, 9))


def error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except (RuntimeError, ValueError, IndexError, ConvolensError) as error:
        return error
    return None


LAYERS = [
    lambda: conv(3, 4, 3),
    lambda: nn.Conv1d(3, 4, 5),
    lambda: nn.Conv3d(3, 4, 2),
    lambda: nn.ConvTranspose1d(4, 3, 2),
    lambda: nn.MaxPool2d(3),
    lambda: nn.AvgPool3d(3, padding=1),
    lambda: nn.MaxPool1d(3, dilation=2),
    lambda: nn.BatchNorm1d(3),
    lambda: nn.BatchNorm3d(3),
    lambda: nn.InstanceNorm2d(3, affine=True),
    lambda: nn.GroupNorm(2, 4),
    lambda: nn.LayerNorm((4, 5)),
    lambda: nn.Linear(12, 3),
    lambda: nn.Flatten(),
]


@settings(deadline=None, max_examples=120)
@given(
    layers=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3),
    size=st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
def test_it_raises_exactly_where_pytorch_does(layers: list, size: list[int]) -> None:
    """No false explanations: an error is one of ours, and only where the real pass fails."""
    net = nn.Sequential(*[make() for make in layers]).eval()
    fails = error_of(lambda: net(torch.zeros(1, *size)))
    error = error_of(lambda: summarize(net, size))
    assert (error is None) == (fails is None), (error, fails)
    assert error is None or (isinstance(error, ConvolensError) and str(error).count("\n") <= 1)
