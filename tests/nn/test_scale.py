import torch

from convolens.nn.scale import Scale


def test_value_gradient_and_no_parameter() -> None:
    block = Scale(0.125)
    x = torch.tensor([[8.0, -16.0]], requires_grad=True)
    block(x).sum().backward()
    assert block(x).tolist() == [[1.0, -2.0]]
    assert x.grad is not None
    assert x.grad.tolist() == [[0.125, 0.125]]
    assert not block.state_dict()
