import pytest
import torch
from torch import nn

from convolens.errors import ConfigError, RunError
from convolens.train.average import AverageConfig, WeightAverage, decay_at, make_average


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def test_it_is_the_recursion_written_out() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    expected = {k: v.double().clone() for k, v in model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for step in range(150):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        model(torch.randn(4, 1, 3, 3, generator=generator))  # moves the running statistics
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value.double()
            else:
                expected[name] = value.double()
    for name, value in average.tensors.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert int(average.tensors["1.num_batches_tracked"]) == 150


def test_the_warm_up_forgets_the_first_weights() -> None:
    assert [decay_at(0.999, t) for t in (0, 1, 10)] == [1 / 10, 2 / 11, 11 / 20]
    assert decay_at(0.999, 10**6) == 0.999
    left = 1.0
    for step in range(100):
        left *= decay_at(0.999, step)
    assert left < 1e-9


def test_in_place_puts_the_average_in_and_the_weights_back() -> None:
    model = network()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight.fill_(7.0)
    average.update(0)
    own = {k: v.clone() for k, v in model.state_dict().items()}

    def look() -> None:
        with average.in_place():
            for name, value in model.state_dict().items():
                assert torch.equal(value, average.tensors[name]), name
            assert not torch.equal(model[0].weight, own["0.weight"])
            raise KeyError

    with pytest.raises(KeyError):
        look()
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name]), name


def test_it_follows_channels_last_weights() -> None:
    model = network().to(memory_format=torch.channels_last)
    average = WeightAverage(model, 0.9)
    average.load({k: v.contiguous() for k, v in average.tensors.items()})
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(12.0).view(3, 1, 2, 2))
    for step in range(200):
        average.update(step)
    torch.testing.assert_close(average.tensors["0.weight"], model[0].weight.detach())


def test_lookahead_is_the_recursion_written_out() -> None:
    model = network()
    average = make_average(model, AverageConfig(decay=0.95, lookahead=5), total_steps=23)
    assert average is not None
    weight = model[0].weight
    generator = torch.Generator().manual_seed(1)
    slow, fast = weight.detach().double().clone(), weight.detach().double().clone()
    for step in range(23):
        change = 0.1 * torch.randn(weight.shape, generator=generator)
        with torch.no_grad():
            weight += change
        fast += change
        average.update(step)
        if step % 5 == 4:
            kept = 0.95**5 * ((step + 1) / 23) ** 3
            slow = kept * slow + (1 - kept) * fast
            fast = slow.clone()
        torch.testing.assert_close(weight.detach().double(), fast, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(average.tensors["0.weight"].double(), slow, rtol=1e-5, atol=1e-6)


def test_off_is_none() -> None:
    assert make_average(network(), AverageConfig(), 10) is None


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"average\.lookahead needs average\.decay above 0"):
        AverageConfig(lookahead=5)
    with pytest.raises(ConfigError, match=r"average\.lookahead must be a whole number"):
        AverageConfig(decay=0.5, lookahead=-1)
    with pytest.raises(ConfigError, match=r"average\.decay must be a number of at least 0 and"):
        AverageConfig(decay=1.0)
    average = WeightAverage(network(), 0.9)
    with pytest.raises(RunError, match="the saved moving average is not one of this network"):
        average.load({"0.weight": torch.zeros(3, 1, 2, 2)})
