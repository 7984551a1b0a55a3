import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from convolens.errors import UnavailableError
from convolens.models import simple_convnet, small_convnet
from convolens.train import trials
from convolens.train.choice import Choice, Trial, to_json
from convolens.train.config import PlanConfig
from convolens.train.plan import Plan, Precision
from convolens.train.runner import Runner
from convolens.train.trials import candidates, choose_by_trial, refinements

REFERENCE, LAST = candidates("cpu", kernels=False)[:2]
HALF: tuple[Precision, ...] = ("float32", "float16")


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


def test_a_loss_that_chooses_is_compared_by_the_outputs(batch: tuple) -> None:
    """Which class it takes is chance, as rounding turns a detector's choices."""
    calls = []

    def choosing(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return 100 + 0.1 * outputs[:, len(calls) % 10].mean()

    wrong = Other(device="cpu", precision="float32", channels_last=True)
    net = small_convnet(10, 1, 28, dropout=0.3)
    choice = choose_by_trial(net, [REFERENCE, LAST, wrong], *batch, choosing, cache=None)
    reference, last, other = choice.trials
    assert last.gradient_error > 0.1
    assert last.accepted
    assert not other.accepted
    assert reference.accepted


class Noisy(Plan):
    """A plan that adds noise to the gradient of the one layer: as much of it as it has threads."""

    def place(self, model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(0)

        def disturb(gradient: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(gradient.shape, generator=generator)
            return gradient + noise * (gradient.norm() / noise.norm() * self.threads / 100)

        next(model.parameters()).register_hook(disturb)
        return model


def test_half_precision_may_move_the_gradient_by_a_part_of_chance(batch: tuple) -> None:
    """Two batches of 32 random pictures have gradients that differ by more than their size."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    accepted = {}
    for percent in (4, 20, 35, 80):
        for precision in ("float32", "float16"):
            noisy = Noisy(
                device="cpu",
                precision=precision,
                channels_last=True,
                kernels=True,
                threads=percent,
            )
            trial = choose(batch, [REFERENCE, noisy], net=net).trials[1]
            assert trial.gradient_error == pytest.approx(percent / 100, rel=0.1)
            accepted[precision, percent] = trial.accepted
    assert [accepted["float32", percent] for percent in (4, 20, 35, 80)] == [False] * 4
    assert [accepted["float16", percent] for percent in (4, 20, 35, 80)] == [True] * 3 + [False]


def test_kernels_of_float16_that_find_nothing_to_multiply_are_left_out(batch: tuple) -> None:
    same = [Plan(device="cpu", precision=p, channels_last=True, kernels=True) for p in HALF]
    found = choose(batch, [REFERENCE, LAST, *same], net=simple_convnet())
    assert found.trials[3].failure == "no other results than with float32"
    assert not found.trials[3].accepted
    assert found.plan.precision == "float32"


def test_what_is_refused_is_timed_once(batch: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Other(device="cpu", precision="float32", channels_last=True)
    passes: list[Plan] = []
    counted = trials.Runner._pass
    monkeypatch.setattr(
        trials.Runner, "_pass", lambda self: (passes.append(self.plan), counted(self))[1]
    )
    choice = choose(batch, [REFERENCE, LAST, wrong])
    assert passes.count(wrong) == 2  # its errors, its time
    assert passes.count(LAST) > 2
    assert 0 < choice.trials[2].seconds < float("inf")


class Counting(nn.Module):
    """Gives a part of a batch a little more than the whole, as nothing should."""

    def __init__(self, whole: int) -> None:
        super().__init__()
        self.layer, self.whole = nn.Linear(28 * 28, 10), whole

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x.flatten(1))
        return out if len(x) == self.whole else out * 1.001


def test_plans_that_are_far_behind_take_two_turns(
    batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = replace(LAST, threads=1)
    seconds, turns = {REFERENCE: 0.4, LAST: 0.2, near: 0.21}, {LAST: 0, near: 0}
    turns[REFERENCE] = -1  # its first run tells how many pictures can be tried

    def run(runner: Runner) -> None:
        runner.seconds = seconds[runner.plan]
        turns[runner.plan] += 1

    monkeypatch.setattr(Runner, "run", run)
    monkeypatch.setattr(trials, "MOST_S", 0.0)
    monkeypatch.setattr(trials, "LEAST_S", 0.0)
    assert choose(batch, [REFERENCE, LAST, near]).plan == LAST
    assert turns == {REFERENCE: 2, LAST: trials.LEAST_ROUNDS, near: trials.LEAST_ROUNDS}


def test_a_variant_that_differs_a_little_is_not_taken(batch: tuple) -> None:
    images, labels = (tensor.repeat(2, *[1] * (tensor.dim() - 1)) for tensor in batch)
    net = Counting(64)
    choice = choose_by_trial(net, [REFERENCE, LAST], images, labels, cross_entropy, cache=None)
    halves = [trial for trial in choice.trials if trial.plan.micro_batch == 32]
    assert [1e-4 < trial.loss_error < 1e-2 for trial in halves] == [True]
    assert not halves[0].accepted
    assert choice.plan.micro_batch == 0


def test_variants_are_compared_though_the_reference_is_gone(
    batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a layer rounds otherwise on one thread than on many."""
    threads = replace(LAST, threads=1)
    monkeypatch.setattr(trials, "refinements", lambda *_: [threads])

    def choosing(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return 100 + 0.1 * outputs[:, len(calls) % 10].mean()

    calls: list[int] = []
    net = small_convnet(10, 1, 28)
    choice = choose_by_trial(net, [REFERENCE, LAST], *batch, choosing, cache=None)
    assert [trial.accepted for trial in choice.trials] == [True, True, True]
    assert choice.trials[2].plan == threads
    assert choice.trials[2].gradient_error > 0.1


@pytest.mark.parametrize(("factor", "taken"), [(0.5, True), (0.97, False)])
def test_another_plan_must_be_clearly_faster(
    batch: tuple,
    factor: float,
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = replace(LAST, precision="bfloat16")
    seconds = {REFERENCE: 2.0, LAST: 1.0, other: factor}
    measured = trials.Runner.trial

    def told(self: trials.Runner) -> Trial:
        trial = measured(self)
        return replace(trial, seconds=seconds.get(trial.plan, 9.0), accepted=True)

    monkeypatch.setattr(trials.Runner, "trial", told)
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


def test_another_trial_measures_again(
    batch: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(batch, [REFERENCE, LAST], tmp_path)
    monkeypatch.setattr("convolens.train.choice.trial_version", lambda: "another")
    assert not choose(batch, [REFERENCE, LAST], tmp_path).from_cache
    assert choose(batch, [REFERENCE, LAST], tmp_path).from_cache


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
    monkeypatch.setattr(trials, "LEAST_S", 1e-6)
    monkeypatch.setattr(trials, "SHARE", 0.0)
    assert choose(batch, [REFERENCE, LAST]).batch_size == 8
    monkeypatch.setattr(trials, "SHARE", 0.01)  # a long training affords to try all of it
    assert choose(batch, [REFERENCE, LAST]).batch_size == len(batch[0])


def test_a_gpu_from_before_bfloat16_gets_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    precisions = []
    for has_any in (True, False):
        monkeypatch.setattr(trials, "has_fast_bfloat16", lambda _, has_any=has_any: has_any)
        precisions.append({plan.precision for plan in candidates("cuda", kernels=False)})
    assert precisions == [{"float32", "bfloat16"}, {"float32", "float16"}]
    assert {plan.precision for plan in candidates("cpu", kernels=False)} == {"float32"}


def test_kernels_of_float16_are_tried_where_the_processor_has_it() -> None:
    tried = candidates("cpu", kernels=True, half="float16")
    own = [(plan.precision, plan.half_forward) for plan in tried if plan.kernels]
    assert own == [("float32", True), ("float16", True), ("float16", False)]
    assert not any(plan.scales_loss for plan in tried)  # they scale their factors themselves
    assert not any(plan.precision == "float16" for plan in candidates("cpu", kernels=True))
    asked = candidates("cpu", kernels=True, precision="float16", half="float16")
    assert [plan.kernels for plan in asked] == [False, True, True]  # PyTorch's is far too slow
    alone = candidates("cpu", kernels=True, precision="float32", half="float16")
    assert {plan.precision for plan in alone} == {"float32"}


def test_kernels_of_bfloat16_are_tried_beside_those_of_pytorch() -> None:
    asked = candidates("cpu", kernels=True, precision="bfloat16", half="bfloat16")
    own = [(plan.precision, plan.kernels) for plan in asked]
    assert own == [("float32", False), *[("bfloat16", True)] * 2, *[("bfloat16", False)] * 2]
    other = candidates("cpu", kernels=True, precision="float16", half="bfloat16")
    assert [(p.precision, p.kernels) for p in other[1:]] == [("float16", False)] * 2


def test_a_wanted_precision_is_taken_even_where_it_is_slower(batch: tuple) -> None:
    images, labels = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    plans = candidates("cpu", kernels=True, precision="float16")
    assert [plan.precision for plan in plans] == ["float32", "float16", "float16"]
    asked = PlanConfig(precision="float16")
    choice = choose_by_trial(net, plans, images, labels, cross_entropy, cache=None, asked=asked)
    assert choice.plan.precision == "float16"
    low = next(trial for trial in choice.trials if trial.plan == choice.plan)
    assert 0 < low.gradient_error < 5e-2


def test_float16_gradients_that_overflow_at_first_are_measured_at_a_smaller_scale(
    batch: tuple,
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    low = replace(LAST, precision="float16")
    choice = choose_by_trial(
        net, [REFERENCE, low], *batch, lambda y, t: 30 * cross_entropy(100 * y, t), cache=None
    )
    assert choice.trials[1].gradient_error < 5e-2


def test_a_wanted_precision_that_does_not_suit_the_network_is_refused(batch: tuple) -> None:
    class Wide(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1e4

    net = nn.Sequential(nn.Flatten(), Wide(), nn.Linear(784, 10))  # beyond 65,504
    plans = candidates("cpu", kernels=False, precision="float16")
    with pytest.raises(UnavailableError) as caught:
        choose_by_trial(
            net, plans, *batch, cross_entropy, cache=None, asked=PlanConfig(precision="float16")
        )
    assert caught.value.message.startswith(
        "plan.precision=float16 does not suit this network here: its loss differs by "
    )
    assert caught.value.hint == "Leave it out, or take --set plan.precision=float32."


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_network_that_cannot_learn_is_left_to_the_training(
    batch: tuple, value: float | None
) -> None:
    class Wrong(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if value is None:
                raise RuntimeError("on purpose")
            return super().forward(x) * value

    choice = choose(batch, [REFERENCE, LAST], net=nn.Sequential(Wrong(), nn.Linear(784, 10)))
    assert choice.plan == REFERENCE
    assert not any(trial.accepted for trial in choice.trials)
    assert choice.trials[0].failure == (None if value else "on purpose")


def test_refinements_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, normed = nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    found = refinements(LAST, plain, 100)
    assert [(plan.threads, plan.micro_batch) for plan in found] == [
        (1, 0),
        (4, 0),
        (0, 50),
        (0, 25),
    ]
    assert [plan.micro_batch for plan in refinements(LAST, normed, 100)] == [0, 0]
    assert [plan.micro_batch for plan in refinements(LAST, plain, None)] == [0, 0]
    assert [plan.micro_batch for plan in refinements(LAST, plain, 40)] == [0, 0, 20]
    assert refinements(found[0], plain, 100) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert [plan.micro_batch for plan in refinements(LAST, plain, 100)] == [50, 25]
    on_gpu = replace(LAST, device="cuda")
    assert refinements(on_gpu, plain, 100) == []


def test_parts_of_a_batch_are_tried_and_agree_and_may_be_taken(
    batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = trials.Runner.trial

    def told(self: trials.Runner) -> Trial:
        trial = measured(self)
        return replace(trial, seconds=0.5 if trial.plan.micro_batch else 1.0)

    monkeypatch.setattr(trials.Runner, "trial", told)
    choice = choose(batch, [REFERENCE, LAST], net=small_convnet(10, 1, 28))
    assert choice.plan == LAST  # it has batch norm
    choice = choose(batch, [REFERENCE, LAST], net=simple_convnet(10, 1, 28))
    assert choice.plan == replace(LAST, micro_batch=16)
    assert "16 pictures at a time" in choice.describe()
    assert choice.trials[-1].gradient_error < 1e-5


def test_compiling_is_tried_where_it_is_wanted_or_the_training_is_long(
    batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: own(self, backend="eager"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for word in ("auto", "try", "off"):
        asked = PlanConfig(compile=word)
        choice = choose_by_trial(
            net, [REFERENCE, LAST], *batch, cross_entropy, cache=None, asked=asked, num_passes=10**9
        )
        compiled = [trial.accepted for trial in choice.trials if trial.plan.compiled]
        assert compiled == ([True] if word == "try" else [])
        on_gpu = [trials._may_compile(asked, "cuda", count) for count in (19_999, 20_000)]
        assert on_gpu == {"auto": [False, True], "try": [True] * 2, "off": [False] * 2}[word]


def test_short_trainings_try_less_and_are_remembered_by_themselves(
    batch: tuple, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for _ in range(2):
        for num_passes, count in ((999, 2), (1000, 3)):
            choice = choose_by_trial(
                net, [REFERENCE, LAST], *batch, cross_entropy, cache=tmp_path, num_passes=num_passes
            )
            assert len(choice.trials) == count
    assert choice.from_cache
    assert len([*(tmp_path / "plans").iterdir()]) == 2


class Crowded(nn.Module):
    """Has room for a few pictures only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 10:
            raise torch.OutOfMemoryError("out of memory. Tried to allocate 9 GiB")
        return x


def test_a_batch_that_does_not_fit_a_gpu_goes_in_parts(
    batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = trials.Runner.__init__

    def on_cpu(self: trials.Runner, network: nn.Module, plan: Plan, *rest: object) -> None:
        own(self, network, replace(plan, device="cpu"), *rest)

    monkeypatch.setattr(trials.Runner, "__init__", on_cpu)
    plans = [replace(plan, device="cuda") for plan in (REFERENCE, LAST)]
    net = nn.Sequential(Crowded(), nn.Flatten(), nn.Linear(784, 10))
    fitting = trials._Tried(net, *batch, cross_entropy, "auto").fitting(plans)
    assert [plan.micro_batch for plan in fitting] == [8, 8]
    normed = nn.Sequential(nn.BatchNorm2d(1), *net)
    with pytest.raises(UnavailableError, match="a step of 32 pictures does not fit into"):
        trials._Tried(normed, *batch, cross_entropy, "auto").fitting(plans)
