from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from convolens.train import evaluation
from convolens.train.evaluation import evaluate
from convolens.train.job import Job
from convolens.train.stop import StoppedError, StopRequest


def test_the_metrics_are_those_of_all_pictures_at_once(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MOST_PICTURES", 16)  # 16, 16 and 8 pictures
    job = make_job()
    metrics = evaluate(job.model, job.task, job.train, job.plan).metrics()
    labels = job.train.targets["label"]
    assert isinstance(labels, Tensor)
    pixels, _ = job.task.prepare(job.train.pictures.batch(torch.arange(40)), labels, None)
    with torch.no_grad():
        outputs = job.model(pixels)
    assert metrics["loss"] == pytest.approx(float(cross_entropy(outputs, labels)), rel=1e-6)
    assert metrics["accuracy"] == float((outputs.argmax(dim=1) == labels).double().mean())


def test_every_module_keeps_its_mode_and_no_gradient_is_left(make_job: Callable[..., Job]) -> None:
    net = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.Flatten(), nn.Dropout(0.9), nn.Linear(36, 3))
    job = make_job(net)
    seen: list[bool] = []
    net[2].register_forward_hook(lambda module, *_: seen.append(module.training))
    evaluate(net, job.task, job.train, job.plan)
    assert seen == [False]
    assert [module.training for module in net] == [False, True, True, True]
    assert all(p.grad is None for p in net.parameters())

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    net[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        evaluate(net, job.task, job.train, job.plan)
    assert net[2].training


def test_a_stop_ends_it_unless_all_was_seen(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, stop = make_job(), StopRequest()
    stop.handle(15, None)
    evaluate(job.model, job.task, job.train, job.plan, stop=stop)
    monkeypatch.setattr(evaluation, "MOST_PICTURES", 16)
    with pytest.raises(StoppedError, match="before the metrics were complete"):
        evaluate(job.model, job.task, job.train, job.plan, stop=stop)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_that_of_training(make_job: Callable[..., Job], precision: str) -> None:
    job = make_job()
    kinds: list[torch.dtype] = []
    job.model.register_forward_hook(lambda _, __, outputs: kinds.append(outputs.dtype))
    plan = replace(job.plan, precision=precision)
    exact = evaluate(job.model, job.task, job.train, job.plan).metrics()
    low = evaluate(job.model, job.task, job.train, plan).metrics()
    assert kinds == [torch.float32, getattr(torch, precision)]
    assert low["loss"] == pytest.approx(exact["loss"], rel=2e-2)
    assert low["loss"] != exact["loss"]
