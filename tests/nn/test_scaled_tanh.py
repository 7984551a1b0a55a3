import torch

from convolens.nn.scaled_tanh import ScaledTanh


def test_the_values_of_appendix_a() -> None:
    # The paper: f(1) = 1, f(-1) = -1, and the second derivative is largest there.
    x = torch.linspace(0.5, 1.5, 1001, dtype=torch.float64, requires_grad=True)
    y = ScaledTanh()(x)
    assert abs(y[500].item() - 1) < 1e-4
    torch.testing.assert_close(ScaledTanh()(-x), -y)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert abs(x[curvature.abs().argmax()].item() - 1) < 0.02
