import copy
import ctypes
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from convolens.nn.kernels.batch_norm import batch_norm, fits_batch_norm, stock_batch_norm
from convolens.nn.kernels.norm_passes import Activation


def last(*shape: int, offset: float = 0.0) -> Tensor:
    return (torch.randn(shape) + offset).contiguous(memory_format=torch.channels_last)


def gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def norm_of(channels: int, **options: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, **options)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("shape", [(4, 16, 8, 8), (2, 20, 5, 3), (3, 64, 9, 9), (1, 3, 1, 2)])
@pytest.mark.parametrize(
    ("activation", "adds"),
    [
        *((activation, False) for activation in get_args(Activation)),
        *((activation, True) for activation in ("none", "relu", "relu6")),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_equals_stock_operations_in_float64(
    each_library: ctypes.CDLL,
    shape: tuple[int, ...],
    activation: Activation,
    adds: bool,
    affine: bool,
) -> None:
    torch.manual_seed(0)
    norm = norm_of(shape[1], affine=affine)
    exact = copy.deepcopy(norm).double()
    x = last(*shape, offset=2.0).requires_grad_()
    residual = last(*shape).requires_grad_() if adds else None
    x64 = x.detach().double().requires_grad_()
    residual64 = residual.detach().double().requires_grad_() if residual is not None else None
    mine = gradients(
        batch_norm(x, norm, each_library, residual=residual, activation=activation),
        [t for t in (x, residual, *norm.parameters()) if t is not None],
    )
    expected = gradients(
        stock_batch_norm(x64, exact, residual=residual64, activation=activation),
        [t for t in (x64, residual64, *exact.parameters()) if t is not None],
    )
    # Two values per channel leave a gradient that is nothing but rounding.
    tolerance = 1e-3 if shape[0] * shape[2] * shape[3] == 2 else 3e-6
    for a, b in zip(mine, expected, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max()))
    for name, buffer in exact.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name).double(), buffer.double())


def test_a_large_mean_costs_no_digits_of_the_variance(each_library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    x = last(4, 16, 12, 12, offset=1000.0)
    norm = nn.BatchNorm2d(16, momentum=1.0)
    batch_norm(x, norm, each_library)
    assert norm.running_var is not None
    torch.testing.assert_close(
        norm.running_var.double(), x.double().var((0, 2, 3)), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("options", [{"momentum": None}, {"momentum": 0.3}])
def test_running_statistics_follow_over_several_batches(
    library: ctypes.CDLL, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    norm = norm_of(8, **options)
    stock = copy.deepcopy(norm)
    for _ in range(3):
        x = last(4, 8, 5, 5, offset=1.0)
        batch_norm(x, norm, library)
        stock(x)
    for name, buffer in stock.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), buffer)


def test_without_running_statistics(library: ctypes.CDLL) -> None:
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    x = last(4, 8, 5, 5)
    torch.testing.assert_close(batch_norm(x, norm, library), norm(x))


def test_nan_stays_nan(library: ctypes.CDLL) -> None:
    x = last(2, 3, 4, 4)
    x[0, 1, 2, 3] = torch.nan
    for activation in get_args(Activation):
        out = batch_norm(x, nn.BatchNorm2d(3), library, activation=activation)
        assert out[:, 1].isnan().all()
        assert not out[:, [0, 2]].isnan().any()


def test_is_the_same_each_time_and_for_any_number_of_threads(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    x, norm = last(37, 20, 9, 7).requires_grad_(), norm_of(20)
    runs = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        try:
            out = batch_norm(x, norm, library, activation="relu")
            runs.append(gradients(out, [x, *norm.parameters()]))
        finally:
            torch.set_num_threads(1)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_says_why_it_does_not_fit() -> None:
    norm = nn.BatchNorm2d(4)
    assert fits_batch_norm(norm, (2, 4, 1, 1)) is None
    assert fits_batch_norm(norm, (1, 4, 1, 1)) == "there must be at least two values per channel"
    assert fits_batch_norm(norm.eval(), (2, 4, 1, 1)) == "the normalisation must be in training"
    norm.train().running_mean = torch.zeros(4, dtype=torch.float64)
    assert fits_batch_norm(norm, (2, 4, 1, 1)) == "the running statistics must be float32"
    assert fits_batch_norm(norm.double(), (2, 4, 1, 1)) == "the weights must be float32"
