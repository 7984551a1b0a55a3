"""Parts of one-pass detectors: sizes at odd sides, and what goes past the blocks."""

import torch
from torch import nn

from convolens.nn.pyramid_neck import CrossStage, PathAggregation, PooledContext, double


def test_position_i_lies_under_half_of_i_at_odd_sides() -> None:
    coarse = torch.arange(12.0).view(1, 1, 3, 4)
    fine = double(coarse, torch.zeros(1, 1, 5, 7))
    assert fine.shape == (1, 1, 5, 7)
    for y in range(5):
        for x in range(7):
            assert fine[0, 0, y, x] == coarse[0, 0, y // 2, x // 2]


def test_the_neck_keeps_the_size_of_every_map() -> None:
    neck = PathAggregation([8, 16, 24], 12).eval()
    sizes = [(13, 9), (7, 5), (4, 3)]
    maps = [torch.randn(1, c, *size) for c, size in zip((8, 16, 24), sizes, strict=True)]
    assert [tuple(m.shape) for m in neck(maps)] == [(1, 12, *size) for size in sizes]


def test_every_level_sees_every_other() -> None:
    neck = PathAggregation([4, 4, 4], 8).eval()
    maps = [torch.randn(1, 4, n, n, requires_grad=True) for n in (8, 4, 2)]
    for level in neck(maps):
        grads = torch.autograd.grad(level.square().sum(), maps, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in grads)


def test_half_of_the_channels_goes_past_the_blocks() -> None:
    stage = CrossStage(4, 6).eval()
    seen: list[tuple[int, ...]] = []
    stage.blocks.register_forward_hook(lambda _, args, out: seen.append(tuple(args[0].shape)))
    x = torch.randn(2, 4, 5, 5)
    merged: list[torch.Tensor] = []
    stage.merge.register_forward_pre_hook(lambda _, args: merged.append(args[0]))
    stage(x)
    assert seen == [(2, 3, 5, 5)]
    assert torch.equal(merged[0][:, :3], stage.split(x)[:, :3])


def test_the_context_holds_the_maxima_around() -> None:
    context = PooledContext(2, windows=(3,)).eval()
    context.reduce = nn.Conv2d(2, 1, 1, bias=False)
    context.merge = nn.Identity()
    nn.init.ones_(context.reduce.weight)
    x = torch.zeros(1, 2, 5, 5)
    x[0, 0, 2, 2] = 7
    assert context(x)[0, 1].tolist() == [
        [7 if 1 <= y <= 3 and 1 <= c <= 3 else 0 for c in range(5)] for y in range(5)
    ]
