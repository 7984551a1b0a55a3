import ctypes

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convolens.nn.kernels.batch_norm import batch_norm
from convolens.nn.kernels.memory import sums_of
from convolens.nn.kernels.winograd import conv3x3, fits_conv3x3, stock_conv3x3


def both(
    library: ctypes.CDLL, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients of the kernel, and of PyTorch in float64."""
    given_ = [x, weight] + ([] if bias is None else [bias])
    results = []
    for dtype in (torch.float32, torch.float64):
        inputs = [t.detach().to(dtype).requires_grad_() for t in given_]
        b = inputs[2] if bias is not None else None
        if dtype == torch.float32:
            out = conv3x3(inputs[0], inputs[1], b, library, padding=padding)
        else:
            out = stock_conv3x3(inputs[0], inputs[1], b, padding=padding)
        generator = torch.Generator().manual_seed(1)
        grad = torch.randn(out.shape, generator=generator).to(dtype)
        results.append([out.detach(), *torch.autograd.grad(out, inputs, grad)])
    return results[0], results[1]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    N=st.integers(1, 9),
    C=st.sampled_from([16, 32, 48, 64]),
    K=st.sampled_from([16, 32, 48, 64]),
    sides=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    padding=st.integers(0, 2),
    last=st.booleans(),
    with_bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_definition_in_float64(
    each_library: ctypes.CDLL,
    N: int,
    C: int,
    K: int,
    sides: tuple[int, int],
    padding: int,
    last: bool,
    with_bias: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, C, *sides, generator=generator).contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    weight = torch.randn(K, C, 3, 3, generator=generator).contiguous(memory_format=layout)
    bias = torch.randn(K, generator=generator) if with_bias else None
    mine, expected = both(each_library, x, weight, bias, padding)
    for a, b in zip(mine, expected, strict=True):
        assert (a - b).abs().max() < 2e-5 * b.abs().max()


@pytest.mark.parametrize(
    ("batch", "side"),
    [(1, 7), (3, 13), (40, 11)],  # one tile and more; few tiles, and too many to go at once
)
@pytest.mark.parametrize("channels", [(128, 96), (80, 208)])
def test_large_filters_equal_the_definition(
    each_library: ctypes.CDLL, batch: int, side: int, channels: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    C, K = channels
    x = torch.randn(batch, C, side, side + 1).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(K, C, 3, 3).contiguous(memory_format=torch.channels_last)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            mine, expected = both(each_library, x, weight, None, 1)
        finally:
            torch.set_num_threads(1)
        for a, b in zip(mine, expected, strict=True):
            assert (a - b).abs().max() < 2e-5 * b.abs().max()


def test_a_value_that_is_not_finite_stays_in_its_tile(library: ctypes.CDLL) -> None:
    x = torch.randn(1, 16, 12, 12).contiguous(memory_format=torch.channels_last)
    x[0, 3, 5, 5] = torch.nan
    weight = torch.randn(16, 16, 3, 3)
    out = conv3x3(x, weight, None, library)
    assert out[0, :, 4:7, 4:7].isnan().all()  # where the definition has it
    assert not out[0, :, 8:].isnan().any()


def test_is_the_same_each_time(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 32, 9, 10).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(16, 32, 3, 3)
    runs: dict[int, list[Tensor]] = {}
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        try:
            run = both(library, x, weight, None, 1)[0]
        finally:
            torch.set_num_threads(1)
        earlier = runs.setdefault(threads, run)
        assert all(torch.equal(a, b) for a, b in zip(earlier, run, strict=True))
    for a, b in zip(runs[1], runs[2], strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize(
    ("conv", "shape", "reason"),
    [
        ({"kernel_size": 5}, (9, 32, 32, 32), "must be 3×3 with stride 1"),
        ({"stride": 2}, (9, 32, 32, 32), "must be 3×3 with stride 1"),
        ({"groups": 2}, (9, 32, 32, 32), "neither dilation nor groups"),
        ({"padding": "same"}, (9, 32, 32, 32), "must be a number of zeros"),
        ({"padding": 3}, (9, 32, 32, 32), "the same on all sides, and at most 2"),
        ({"in_channels": 3}, (9, 3, 32, 32), "the numbers of channels must be multiples of "),
        ({"dtype": torch.float64}, (9, 32, 32, 32), "must be float32 on the CPU"),
        ({}, (9, 32, 2, 32), "at least one whole window"),
        ({}, (1, 32, 10, 32), "at least 32 tiles of 4×4 outputs"),
    ],
)
def test_says_why_it_does_not_fit(
    library: ctypes.CDLL, conv: dict, shape: tuple[int, ...], reason: str
) -> None:
    layer = nn.Conv2d(**{"in_channels": 32, "out_channels": 32, "kernel_size": 3, **conv})
    said = fits_conv3x3(layer, shape, library)
    assert said is not None
    assert reason in said
    assert fits_conv3x3(nn.Conv2d(32, 32, 3, padding=1), (1, 32, 32, 32), library) is None


@pytest.mark.parametrize("side", [8, 9, 3])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_leaves_the_sums_that_a_normalisation_needs(
    each_library: ctypes.CDLL, side: int, offset: float
) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 32, side, side).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(48, 32, 3, 3) / 17, torch.full((48,), offset)
    out = conv3x3(x, weight, bias, each_library, normalised=True)
    assert torch.equal(out, conv3x3(x, weight, bias, each_library))
    sums = sums_of(out)
    assert sums is not None
    count, shift, total, _ = sums.double().unbind(1)
    assert (count.sum(0) == 20 * side * side).all()
    exact = out.double()
    mean = (count * shift + total).sum(0) / count.sum(0)
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    norms = [nn.BatchNorm2d(48, momentum=1.0) for _ in range(2)]
    for norm, volume in zip(norms, (out, out.clone()), strict=True):
        batch_norm(volume, norm, each_library)
        assert norm.running_var is not None
        # About a mean of 1000 the outputs themselves have few digits left.
        expected = exact.var((0, 2, 3))
        torch.testing.assert_close(norm.running_var.double(), expected, rtol=5e-6, atol=0)


def test_a_volume_that_changed_has_no_sums(library: ctypes.CDLL) -> None:
    x = torch.randn(20, 32, 8, 8).contiguous(memory_format=torch.channels_last)
    out = conv3x3(x, torch.randn(32, 32, 3, 3), None, library, normalised=True)
    assert sums_of(out) is not None
    assert sums_of(out + 1) is None
    out.add_(1)
    assert sums_of(out) is None
