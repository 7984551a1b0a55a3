import inspect

import pytest

from convolens.models.registry import MODELS, check_options
from convolens.recipes.registry import DEFAULTS, RECIPES
from convolens.train.schedule import factor


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_network_exists_and_takes_the_options(name: str) -> None:
    model = RECIPES[name]("x").model
    check_options(MODELS[model.name].builder, model.options, model.name)
    assert RECIPES[name]("x").data.name == "x"
    assert inspect.getdoc(RECIPES[name])


def test_the_default_of_a_dataset_is_one_of_the_recipes() -> None:
    assert set(DEFAULTS.values()) <= set(RECIPES.values())


def test_cifar10_fast_has_the_papers_numbers() -> None:
    """Jordan's listing takes the sum of 1,024 losses; the recipe takes their mean."""
    config = RECIPES["cifar10_fast"]("cifar10")
    optimizer = config.optimizer
    per_kilostep = 1024 * (1 + 1 / (1 - 0.85))
    assert optimizer.lr == pytest.approx(11.5 / per_kilostep * config.batch_size)
    assert optimizer.lr is not None
    assert optimizer.weight_decay is not None
    shrinks = 0.0153 * config.batch_size / per_kilostep
    assert optimizer.lr * optimizer.weight_decay == pytest.approx(shrinks)
    total, epoch = 480, 48
    factors = [factor(config.schedule, step, total, epoch) for step in range(total)]
    assert factors[0] == pytest.approx(0.2)
    assert max(factors) == pytest.approx(1.0, abs=0.01)
    assert factors.index(max(factors)) == pytest.approx(0.23 * total, abs=1)
    assert factors[-1] == pytest.approx(0.07)
