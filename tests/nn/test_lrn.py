import pytest
import torch
from torch import Tensor, fx, nn

from convolens.errors import ConfigError, ShapeError
from convolens.nn.lrn import LocalResponseNorm

SHAPES = [(2, 7), (2, 7, 3), (2, 7, 3, 4), (2, 7, 2, 3, 2), (1, 1, 2, 2), (1, 2, 3)]


def by_the_equation(x: Tensor, n: int, alpha: float, beta: float, k: float) -> Tensor:
    """Section 3.3 of the paper, channel by channel."""
    out, channels = torch.empty_like(x), x.shape[1]
    for i in range(channels):
        first, last = max(0, i - n // 2), min(channels - 1, i + n // 2)
        total = sum(x[:, j] ** 2 for j in range(first, last + 1))
        out[:, i] = x[:, i] / (k + alpha * total) ** beta
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"), [(5, 1e-4, 0.75, 2.0), (3, 0.3, 0.75, 1.0), (9, 0.2, 0.5, 0.1)]
)
def test_the_equation_of_the_paper(
    shape: tuple[int, ...], size: int, alpha: float, beta: float, k: float
) -> None:
    torch.manual_seed(0)
    x = 5 * torch.randn(shape, dtype=torch.float64)
    layer = LocalResponseNorm(size, alpha=alpha, beta=beta, k=k)
    expected = by_the_equation(x, size, alpha, beta, k)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x.requires_grad_()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_torchs_form_divides_alpha_by_the_size(channels_last: bool) -> None:
    torch.manual_seed(0)
    x = 20 * torch.randn(2, 16, 5, 6)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    layer = LocalResponseNorm(5, alpha=1e-2)
    oracle = nn.LocalResponseNorm(5, alpha=5e-2, beta=0.75, k=2.0)
    gradient = torch.randn_like(x)
    y = layer(ours)
    y.backward(gradient)
    oracle(theirs).backward(gradient)
    torch.testing.assert_close(y, oracle(theirs))
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert y.stride() == x.stride()


def test_the_defaults_are_those_of_the_paper() -> None:
    layer = LocalResponseNorm()
    assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 2.0)


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_gradients_of_both_orders(beta: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    layer = LocalResponseNorm(3, alpha=0.4, beta=beta, k=0.7)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_bfloat16_keeps_the_sum_that_a_large_k_would_swallow() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 32, 8).bfloat16()
    exact = by_the_equation(x.double(), 5, 1e-3, 0.75, 2.0)
    y = LocalResponseNorm(alpha=1e-3)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=0)
    leaf = x.clone().requires_grad_()
    LocalResponseNorm(alpha=1e-3)(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.bfloat16


def test_meta_tensors_and_symbolic_traces() -> None:
    assert LocalResponseNorm()(torch.empty(2, 8, 4, 4, device="meta")).shape == (2, 8, 4, 4)
    trace = fx.symbolic_trace(nn.Sequential(LocalResponseNorm(3)))
    x = torch.randn(1, 4, 2)
    torch.testing.assert_close(trace(x), LocalResponseNorm(3)(x))


@pytest.mark.parametrize("size", [0, 4])
def test_a_size_without_a_centre_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"size must be odd and at least 1, received {size}"):
        LocalResponseNorm(size)


def test_other_wrong_input() -> None:
    with pytest.raises(ConfigError, match=r"k must be greater than 0, received 0\.0"):
        LocalResponseNorm(k=0.0)
    with pytest.raises(ShapeError, match=r"expected \(N, C, …\), received \(3,\)"):
        LocalResponseNorm()(torch.zeros(3))
