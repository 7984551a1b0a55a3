from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convolens.data.loader import batches
from convolens.train.checkpoint import load_tensors
from convolens.train.events import Event, Stepped, ignore
from convolens.train.job import Job
from convolens.train.loop import fit
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.scale import LossScale, scale_of
from convolens.train.state import state_files
from convolens.train.step import take_step
from convolens.train.stop import DivergedError, StoppedError, StopRequest


def loud() -> nn.Module:
    """Its gradients exceed float16's 65,504 at the first loss scales."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3), Times(40.0))


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def in_float16(job: Job) -> Job:
    return replace(job, plan=replace(job.plan, precision="float16"))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["momentum", "adamw", "muon"])
def test_steps_are_those_of_torchs_own_recipe(
    make_job: Callable[..., Job], name: str, accumulate: int
) -> None:
    optimizer_config = OptimizerConfig(name=name, lr=0.01)
    options = {"optimizer": optimizer_config, "clip_norm": 0.5, "accumulate": accumulate}
    job, oracle = in_float16(make_job(loud(), **options)), loud()
    optimizer, scale = make_optimizer(job.model, optimizer_config), scale_of(job.plan)
    theirs, scaler = make_optimizer(oracle, optimizer_config), torch.amp.GradScaler("cpu")
    theirs._step_supports_amp_scaling = False  # torch's own is wrong where the first is left out
    assert scale is not None
    scales = []
    for step, batch in enumerate(batches(job.train, torch.arange(40).repeat(2), 10)):
        take_step(job, optimizer, batch, step, scale)
        targets = job.task.targets(job.train, batch.indices)
        pixels, targets = job.task.prepare(batch.pixels, targets, None)
        theirs.zero_grad()
        for x, y in zip(pixels.chunk(accumulate), targets.chunk(accumulate), strict=True):
            with torch.autocast("cpu", dtype=torch.float16):
                outputs = oracle(x)
            loss = nn.functional.cross_entropy(outputs.float(), y) * (len(x) / len(pixels))
            scaler.scale(loss).backward()
        scaler.unscale_(theirs)
        nn.utils.clip_grad_norm_(oracle.parameters(), 0.5)
        scaler.step(theirs)
        scaler.update()
        scales.append(scale.value)
        assert scale.value == scaler.get_scale()
    for ours, expected in zip(job.model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert scales[0] == 2.0**15  # the first step did overflow
    assert scales[-1] == scales[-2]


def test_a_step_that_overflows_changes_neither_weights_nor_optimizer(
    make_job: Callable[..., Job],
) -> None:
    job = in_float16(make_job(loud()))
    optimizer = make_optimizer(job.model, OptimizerConfig(name="adam"))
    scale = LossScale("cpu")
    before = [p.detach().clone() for p in job.model.parameters()]
    (batch,) = batches(job.train, torch.arange(10), 10)
    metrics = take_step(job, optimizer, batch, 0, scale)
    assert 0 < float(metrics["loss"]) < 100  # the loss itself is not scaled
    assert all(torch.equal(a, b) for a, b in zip(before, job.model.parameters(), strict=True))
    assert all(float(state["step"]) == 0 for state in optimizer.state.values())
    assert scale.value == 2.0**15


def run(job: Job, folder: Path, stop_at: int | None = None, *, resume: bool = False) -> Job:
    job = replace(job, folder=type(job.folder)(folder))
    folder.mkdir(exist_ok=True)
    job.folder.repair()
    stop = StopRequest()

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == stop_at:
            stop.handle(15, None)

    fit(job, notify, stop, resume=resume)
    return job


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_stopped_training_goes_on_to_the_same_bits(
    make_job: Callable[..., Job], tmp_path: Path, step: int
) -> None:
    options = {"epochs": 2, "optimizer": OptimizerConfig(name="adamw", lr=0.01)}
    whole = run(in_float16(make_job(loud(), **options)), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(in_float16(make_job(loud(), **options)), tmp_path / "cut", step)
    cut = run(in_float16(make_job(loud(), **options)), tmp_path / "cut", resume=True)
    (first, meta), (second, other) = (
        load_tensors(state_files(job.folder)[0]) for job in (whole, cut)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert meta["tree"]["scale"] == other["tree"]["scale"]
    assert meta["tree"]["scale"]["scale"] < 2.0**16


def test_a_training_that_never_has_finite_gradients_is_said_to_have_diverged(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    class Broken(Times):
        def forward(self, x: Tensor) -> Tensor:
            return x + (x.detach() * 0) * (x - x.detach()).sqrt()  # d√u/du at 0 is infinite

    job = in_float16(make_job(nn.Sequential(nn.Flatten(), nn.Linear(36, 3), Broken(1.0)), epochs=9))
    job.folder.repair()
    with pytest.raises(DivergedError, match=r"no loss scale above .* gives finite gradients"):
        fit(job, ignore, StopRequest())


def test_only_float16_scales(make_job: Callable[..., Job]) -> None:
    plan = make_job().plan
    assert scale_of(plan) is None
    assert scale_of(replace(plan, precision="bfloat16")) is None
