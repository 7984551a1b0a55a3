from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import nn

from convolens.data.loader import batches
from convolens.train.batch_norm import with_shared_batch_norm
from convolens.train.distributed import Processes
from convolens.train.job import Job
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.plan import Plan, plan_from_json
from convolens.train.step import add_gradient, take_step

PLAN = Plan(device="cpu", precision="float32", channels_last=False)


def test_a_plan_comes_back_from_json_also_from_before_it_had_all_its_fields() -> None:
    plan = replace(PLAN, compiled=True, threads=3, micro_batch=16, precision="float16")
    tree = dict(plan.to_json())
    assert plan_from_json(tree, "cpu") == plan
    for name in ("compiled", "threads", "micro_batch"):
        del tree[name]
    assert plan_from_json(tree, "cpu") == replace(PLAN, precision="float16")


def test_a_plans_threads_are_used_inside_and_given_back() -> None:
    before = torch.get_num_threads()
    plan = replace(PLAN, threads=before + 1)
    seen = []
    for inside in (plan.autocast, plan.own_threads):
        with suppress(KeyError), inside():
            seen.append(torch.get_num_threads())
            raise KeyError
        assert torch.get_num_threads() == before
    assert seen == [before + 1, before + 1]
    with PLAN.own_threads():
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("size", [3, 4, 5, 10, 64])
def test_micro_batches_give_the_gradient_of_the_batch(
    make_job: Callable[..., Job], size: int
) -> None:
    whole = make_job()
    parts = replace(whole, plan=replace(whole.plan, micro_batch=size))
    largest: list[int] = []
    whole.model.register_forward_hook(lambda _, inputs, __: largest.append(len(inputs[0])))
    found = []
    for job in (whole, parts):
        largest.clear()
        indices = torch.arange(10)
        targets = job.task.targets(job.train, indices)
        pixels, targets = job.task.prepare(job.train.pictures.batch(indices), targets, None)
        job.model.zero_grad()
        loss, metrics = add_gradient(job, pixels, targets)
        found.append((loss, [p.grad.clone() for p in job.model.parameters()], metrics))
    assert max(largest) <= size
    assert sum(largest) == 10
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert found[0][2]["accuracy"] == pytest.approx(found[1][2]["accuracy"])


def test_a_compiled_network_steps_as_the_network_itself(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch._dynamo")
    own = nn.Module.compile
    # The tracer without the code generator, which takes half a minute and a compiler.
    monkeypatch.setattr(nn.Module, "compile", lambda self: own(self, backend="eager"))
    moved = []
    for compiled in (False, True):
        job = make_job()
        plan = replace(job.plan, compiled=compiled)
        job = replace(job, plan=plan, model=plan.place(job.model))
        assert (job.model._compiled_call_impl is not None) is compiled
        assert "0.weight" in job.model.state_dict()
        optimizer = make_optimizer(job.model, OptimizerConfig(name="momentum", lr=0.1))
        for step, batch in enumerate(batches(job.train, torch.arange(40), 10)):
            take_step(job, optimizer, batch, step)
        moved.append([*job.model.parameters()])
    torch.testing.assert_close(*moved)


def test_several_processes_share_batch_norm_without_kernels_and_compiler() -> None:
    plan = replace(PLAN, kernels=True, compiled=True)
    norm, two = nn.BatchNorm2d(3), Processes(world_size=2)
    assert with_shared_batch_norm(plan, norm, two) == PLAN
    assert with_shared_batch_norm(plan, nn.ReLU(), two) == plan
    assert with_shared_batch_norm(plan, norm, Processes()) == plan


def test_kernels_multiply_in_a_plans_precision_or_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Run may come from a processor whose half precision is another."""
    seen = []
    monkeypatch.setattr("convolens.train.plan.why_no_kernels", lambda: None)
    monkeypatch.setattr("convolens.train.plan.load_library", lambda _: None)
    monkeypatch.setattr("convolens.train.plan.half_precision", lambda _: "bfloat16")
    monkeypatch.setattr(
        "convolens.train.plan.apply_kernels", lambda *_, half, half_forward: seen.append(half)
    )
    own = replace(PLAN, channels_last=True, kernels=True)
    for precision in ("float32", "float16", "bfloat16"):
        replace(own, precision=precision).place(nn.Conv2d(3, 8, 3))
    assert seen == [False, False, True]
