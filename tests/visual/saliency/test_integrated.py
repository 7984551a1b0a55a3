import pytest
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.visual.saliency import integrated_gradients


def test_agreement_with_captum(captum, awkward, plain, pictures: Tensor) -> None:
    method = captum.IntegratedGradients(plain)
    theirs = method.attribute(pictures, target=[0, 1, 2], n_steps=24, method="gausslegendre")
    for batch in (5, 64):
        mine = integrated_gradients(awkward, pictures, [0, 1, 2], steps=24, batch=batch)
        torch.testing.assert_close(mine.attributions, theirs.detach().float())
    mine = integrated_gradients(awkward, pictures, 3, steps=24, baseline=0.5)
    theirs = method.attribute(pictures, baselines=0.5, target=3, n_steps=24)
    torch.testing.assert_close(mine.attributions, theirs.detach().float())


def test_the_error_is_what_the_sum_lacks_and_falls_with_more_steps(
    awkward, pictures: Tensor
) -> None:
    errors = []
    for steps in (1, 8, 128):
        found = integrated_gradients(awkward, pictures, steps=steps)
        with torch.no_grad():
            logits, ground = awkward(pictures.clone()), awkward(torch.zeros_like(pictures))
        classes = logits.argmax(1)
        assert torch.equal(found.classes, classes)
        rise = (logits - ground).gather(1, classes[:, None])[:, 0]
        total = found.attributions.flatten(1).sum(1)
        torch.testing.assert_close(found.error.float(), total - rise, atol=1e-5, rtol=0)
        errors.append(float(found.relative_error.max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2e-3


def test_of_a_linear_network_it_is_exact_in_one_step() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    found = integrated_gradients(net, x, 1, steps=1)
    expected = x * net[1].weight[1].view(1, 1, 2, 2)
    torch.testing.assert_close(found.attributions, expected.detach())
    assert float(found.relative_error.max()) < 1e-12


def test_numbers_less_than_one(awkward, pictures: Tensor) -> None:
    with pytest.raises(ConfigError, match="steps and batch must be at least 1, received 0 and 64"):
        integrated_gradients(awkward, pictures, steps=0)
