import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from convolens.models import small_convnet
from convolens.train import trials
from convolens.train.plan import Plan
from convolens.train.trials import Choice, candidates, choose_by_trial, to_json

REFERENCE, LAST = candidates("cpu", kernels=False)[:2]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (32,), generator=generator)
    return torch.randn(32, 1, 28, 28, generator=generator), labels


def choose(batch: tuple, plans: list[Plan], cache: Path | None = None, net=None) -> Choice:
    net = net if net is not None else small_convnet(10, 1, 28, dropout=0.3)
    return choose_by_trial(net, plans, *batch, cross_entropy, cache=cache)


def test_the_network_stays_as_it_was(batch: tuple) -> None:
    net = small_convnet(10, 1, 28)
    before = copy.deepcopy(net.state_dict())
    choose(batch, candidates("cpu", kernels=False), net=net)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert next(net.parameters()).is_contiguous()


def test_a_layout_alone_agrees_with_the_reference(batch: tuple) -> None:
    reference, last = choose(batch, [REFERENCE, LAST]).trials
    assert reference.loss_error == reference.gradient_error == 0
    assert last.accepted
    assert last.loss_error < 1e-5
    assert last.gradient_error < 1e-3


def test_low_precision_is_measured_by_its_errors(batch: tuple) -> None:
    choice = choose(batch, [REFERENCE, LAST, replace(LAST, precision="bfloat16")])
    low = choice.trials[2]
    assert 1e-6 < low.loss_error < 0.1
    assert low.gradient_error > choice.trials[1].gradient_error


class Other(Plan):
    """A plan that computes something else, or nothing."""

    def place(self, model: nn.Module) -> nn.Module:
        if self.precision == "bfloat16":
            raise RuntimeError("not implemented for this layout\nand more")
        with torch.no_grad():
            next(model.parameters()).mul_(1.5)
        return model


def test_what_is_faster_but_differs_or_fails_is_not_taken(batch: tuple) -> None:
    wrong = Other(device="cpu", precision="float32", channels_last=True)
    broken = replace(wrong, precision="bfloat16")
    choice = choose(batch, [REFERENCE, LAST, wrong, broken])
    assert choice.plan in (REFERENCE, LAST)
    assert not choice.trials[2].accepted
    assert choice.trials[2].gradient_error > 1e-2
    assert choice.trials[3].failure == "not implemented for this layout"


@pytest.mark.parametrize(("factor", "taken"), [(0.5, True), (0.97, False)])
def test_another_plan_must_be_clearly_faster(
    batch: tuple,
    factor: float,
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = replace(LAST, precision="bfloat16")
    seconds = {REFERENCE: 2.0, LAST: 1.0, other: factor}
    measured = trials._Runner.trial

    def told(self: trials._Runner, reference: trials._Runner) -> trials.Trial:
        trial = measured(self, reference)
        return replace(trial, seconds=seconds[trial.plan], accepted=True)

    monkeypatch.setattr(trials._Runner, "trial", told)
    choice = choose(batch, [REFERENCE, LAST, other])
    assert choice.plan == (other if taken else LAST)
    assert choice.speedup == pytest.approx(2 / (factor if taken else 1))


def test_a_second_run_of_the_same_shape_remembers(batch: tuple, tmp_path: Path) -> None:
    first = choose(batch, [REFERENCE, LAST], tmp_path)
    second = choose(batch, [REFERENCE, LAST], tmp_path)
    assert not first.from_cache
    assert second.from_cache
    assert second.plan == first.plan
    assert "from an earlier run" in second.describe()
    images, labels = batch
    assert not choose((images[:16], labels[:16]), [REFERENCE, LAST], tmp_path).from_cache
    for file in (tmp_path / "plans").iterdir():
        file.write_text("{")
    assert not choose(batch, [REFERENCE, LAST], tmp_path).from_cache


def test_a_cache_that_cannot_be_written_is_no_error(batch: tuple, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert choose(batch, [REFERENCE, LAST], tmp_path / "file").plan in (REFERENCE, LAST)


def test_the_choice_is_plain_json(batch: tuple) -> None:
    choice = choose(batch, [REFERENCE, LAST, Other(**vars(replace(LAST, precision="bfloat16")))])
    tree = json.loads(json.dumps(to_json(choice), allow_nan=False))
    assert tree["trials"][2]["seconds"] is None
    assert tree["plan"] == vars(choice.plan)
    assert tree["batch_size"] == 32


def test_a_network_too_slow_for_the_budget_is_measured_on_fewer_pictures(
    batch: tuple,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "BUDGET_S", 1e-6)
    assert choose(batch, [REFERENCE, LAST]).batch_size == 8
