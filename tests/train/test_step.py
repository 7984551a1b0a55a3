from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convolens.data.augment import AugmentConfig
from convolens.data.loader import batches
from convolens.tasks.classify import Classify
from convolens.train.job import Job
from convolens.train.optimizer import OptimizerConfig, make_optimizer
from convolens.train.penalty import PenaltyConfig
from convolens.train.step import add_gradient, clip_gradient, take_step


def gradients(job: Job, count: int = 10) -> tuple[list[Tensor], Tensor, dict[str, float]]:
    indices = torch.arange(count)
    pixels, targets = job.task.prepare(
        job.train.pictures.batch(indices), job.task.targets(job.train, indices), None
    )
    job.model.zero_grad(set_to_none=True)
    loss, metrics = add_gradient(job, pixels, targets)
    return [p.grad.clone() for p in job.model.parameters() if p.grad is not None], loss, metrics


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 10])
def test_the_parts_add_up_to_the_gradient_of_the_whole_batch(
    make_job: Callable[..., Job], parts: int
) -> None:
    job = make_job(nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, 3)))
    job.model.double()
    indices = torch.arange(10)
    pixels, targets = job.task.prepare(
        job.train.pictures.batch(indices), job.task.targets(job.train, indices), None
    )
    # The oracle is PyTorch's own loss of the whole batch in float64.
    loss = nn.functional.cross_entropy(job.model(pixels.double()), targets)
    expected = torch.autograd.grad(loss, [*job.model.parameters()])
    split = make_job(job.model, accumulate=parts)
    job.model.zero_grad(set_to_none=True)
    total, metrics = add_gradient(split, pixels.double(), targets)
    for parameter, value in zip(job.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, value, rtol=1e-5, atol=1e-7)
    assert float(total) == pytest.approx(float(loss.detach()), rel=1e-6)
    right = (job.model(pixels.double()).argmax(dim=1) == targets).double().mean()
    assert metrics["accuracy"] == pytest.approx(float(right))


@pytest.mark.parametrize("parts", [2, 3])
def test_a_step_in_parts_is_the_step_of_the_batch_with_augmentation_and_penalty(
    make_job: Callable[..., Job], parts: int
) -> None:
    moved = []
    for accumulate in (1, parts):
        job = make_job(
            accumulate=accumulate,
            clip_norm=0.5,
            penalty=PenaltyConfig(l1=1e-3, l2=1e-2),
            optimizer=OptimizerConfig(name="momentum", lr=0.1),
        )
        augmented = Classify(
            class_names=("a", "b", "c"),
            mean=(0.5,),
            std=(0.25,),
            fill=(0.0,),
            augmentation=AugmentConfig(shift=0.2, flip=0.5, mixup=0.4),
        )
        job = Job(**{**vars(job), "task": augmented})
        optimizer = make_optimizer(job.model, job.config.optimizer)
        for step, batch in enumerate(batches(job.train, torch.arange(40), 10)):
            take_step(job, optimizer, batch, step)
        moved.append([p.detach().clone() for p in job.model.parameters()])
    for whole, split in zip(*moved, strict=True):
        torch.testing.assert_close(whole, split, rtol=1e-5, atol=1e-6)


def test_batch_norm_sees_the_parts(make_job: Callable[..., Job]) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))

    whole, _, _ = gradients(make_job(network()))
    parts, _, _ = gradients(make_job(network(), accumulate=2))
    assert not torch.allclose(whole[0], parts[0], rtol=1e-3)


@pytest.mark.parametrize("most", [0.01, 1.0, 1e3])
def test_clipping_equals_torchs(most: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 3, 3, 3), (8,), (5, 8), ()]
    ours = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    theirs = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for one, other in zip(ours, theirs, strict=True):
        one.grad = torch.randn(one.shape, generator=generator)
        other.grad = one.grad.clone()
    without = nn.Parameter(torch.zeros(3))
    length = clip_gradient([*ours, without], most)
    expected = nn.utils.clip_grad_norm_([*theirs, without], most)
    assert float(length) == pytest.approx(float(expected))
    assert without.grad is None
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_clipping_keeps_channels_last_and_knows_no_gradients() -> None:
    weight = nn.Parameter(torch.zeros(4, 3, 3, 3).to(memory_format=torch.channels_last))
    weight.grad = torch.ones(4, 3, 3, 3).to(memory_format=torch.channels_last)
    assert float(clip_gradient([weight], 1.0)) == pytest.approx(108**0.5)
    assert weight.grad.is_contiguous(memory_format=torch.channels_last)
    assert float(clip_gradient([nn.Parameter(torch.zeros(2))], 1.0)) == 0.0


def test_clipping_is_done_after_the_penalty(make_job: Callable[..., Job]) -> None:
    job = make_job(
        clip_norm=0.1,
        penalty=PenaltyConfig(l2=50.0),
        optimizer=OptimizerConfig(name="sgd", lr=1.0),
    )
    before = torch.cat([p.detach().flatten().clone() for p in job.model.parameters()])
    (batch,) = batches(job.train, torch.arange(10), 10)
    take_step(job, make_optimizer(job.model, job.config.optimizer), batch, 0)
    after = torch.cat([p.detach().flatten() for p in job.model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.1, rel=1e-4)
