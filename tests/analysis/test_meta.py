"""The written-down forms of results are those that PyTorch finds itself."""

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convolens.analysis import tracer
from convolens.analysis.blueprint import Blueprint
from convolens.analysis.meta import RESULTS
from convolens.analysis.meta_elementwise import broadcast
from convolens.analysis.summarize import summarize

aten = torch.ops.aten


def form(result: object) -> object:
    if isinstance(result, Tensor):
        steps = [s for s, n in zip(result.stride(), result.shape, strict=True) if n > 1]
        return tuple(result.shape), steps, result.dtype
    if isinstance(result, tuple | list):
        return tuple(map(form, result))
    return result


def check(func: Callable[..., object], *args: object, **options: object) -> bool:
    """Whether a rule takes the case; where it does, PyTorch on real tensors agrees."""

    def on_meta(item: object) -> object:
        if isinstance(item, Tensor):
            return torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device="meta")
        return [on_meta(i) for i in item] if isinstance(item, list) else item

    try:
        found = RESULTS[func](*map(on_meta, args), **options)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            func(*args, **options)
        return True
    if found is NotImplemented:
        return False
    assert form(found) == form(func(*args, **options))
    return True


@st.composite
def tensors(draw, min_axes: int = 4, max_axes: int = 4) -> Tensor:
    """Contiguous, permuted, cut or spread out."""
    axes = draw(st.integers(min_axes, max_axes))
    shape = draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes))
    x = torch.rand(shape)
    how = draw(st.sampled_from(["plain", "permuted", "cut", "expanded", "last"]))
    if how == "permuted":
        x = x.permute(draw(st.permutations(range(axes))))
    elif how == "cut":
        x = x[..., ::2]
    elif how == "expanded":
        x = x[..., :1].expand(shape)
    elif how == "last" and axes == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return x


UNARY = [
    *(aten.relu.default, aten.gelu.default, aten.exp.default, aten.sqrt.default, aten.tanh.default),
    *(aten.clone.default, aten.empty_like.default, aten.ones_like.default, aten.sgn.default),
]


@settings(deadline=None, max_examples=80)
@given(x=tensors(), func=st.sampled_from(UNARY))
def test_numbers_by_themselves(x: Tensor, func: Callable[..., Tensor]) -> None:
    taken = check(func, x)
    assert taken or not x.is_contiguous()


@settings(deadline=None, max_examples=80)
@given(
    a=tensors(1, 4),
    b=tensors(1, 4),
    func=st.sampled_from([aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.lt.Tensor]),
)
def test_two_tensors(a: Tensor, b: Tensor, func: Callable[..., Tensor]) -> None:
    shape = broadcast(a.shape, b.shape)
    assume(shape is not None)
    taken = check(func, a, b)
    one_decides = shape in (list(a.shape), list(b.shape))
    assert taken or not (a.is_contiguous() and b.is_contiguous() and one_decides)


@settings(deadline=None, max_examples=60)
@given(
    x=tensors(),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 4)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 2),
    dilation=st.integers(1, 2),
    ceil=st.booleans(),
    last=st.booleans(),
)
def test_windows(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: int,
    ceil: bool,
    last: bool,
) -> None:
    sides = [list(kernel), list(stride), list(padding)]
    try:
        F.max_pool2d(x, *sides, dilation, ceil)
    except RuntimeError:
        pass
    else:
        check(aten.max_pool2d_with_indices.default, x, *sides, [dilation] * 2, ceil)
        if dilation == 1:
            check(aten.avg_pool2d.default, x, *sides, ceil)
    weight = torch.rand(3, x.shape[1], *kernel)
    if last:
        weight = weight.contiguous(memory_format=torch.channels_last)
    given_ = (x, weight, None, list(stride), list(padding), [dilation] * 2, False, [0, 0], 1)
    try:
        aten.convolution.default(*given_)
    except RuntimeError:
        return
    found = RESULTS[aten.convolution.default](
        *[t.to("meta") if isinstance(t, Tensor) else t for t in given_]
    )
    # The layout of a convolution is the library's choice; the sizes are not.
    assert found is NotImplemented or found.shape == aten.convolution.default(*given_).shape


@settings(deadline=None, max_examples=40)
@given(x=tensors(2, 4), data=st.data())
def test_sums_and_concatenations(x: Tensor, data: st.DataObject) -> None:
    over = data.draw(st.lists(st.integers(-x.dim(), x.dim() - 1), min_size=1, unique_by=abs))
    if len({axis % x.dim() for axis in over}) == len(over):
        for func in (aten.sum.dim_IntList, aten.mean.dim, aten.amax.default):
            check(func, x, over, data.draw(st.booleans()))
    axis = data.draw(st.integers(-x.dim(), x.dim() - 1))
    assert check(aten.cat.default, [x.contiguous(), x.contiguous()], axis)
    assert check(aten.stack.default, [x.contiguous(), x.contiguous()], axis)


LAYOUTS = {
    "plain": torch.rand(2, 3, 4, 5),
    "last": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "last 3d": torch.rand(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
    "signals": torch.rand(2, 3, 7),
    "numbers": torch.rand(4, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_keeps_the_layout(layout: str, training: bool) -> None:
    x, func = LAYOUTS[layout], aten.native_batch_norm.default
    statistics = (torch.zeros(3), torch.ones(3))
    assert check(func, x, torch.ones(3), None, *statistics, training, 0.1, 1e-5)
    _, mean, deviation = func(x, torch.ones(3), None, *statistics, training, 0.1, 1e-5)
    back = aten.native_batch_norm_backward.default
    for grad in (torch.rand(x.shape), torch.rand_like(x)):
        given = (grad, x, torch.ones(3), *statistics, mean, deviation, training, 1e-5)
        assert check(back, *given, [True, True, True])


def test_counters_are_counted_up() -> None:
    assert check(aten.add_.Tensor, torch.tensor(3), 1)
    assert not check(aten.add_.Tensor, torch.tensor([1.0]), torch.tensor([2]))


X, CHANNELS = torch.rand(2, 3, 4, 4), (None, None, torch.zeros(3), torch.ones(3))
CASES = [
    (aten.native_batch_norm.default, (X, *CHANNELS, False, 0.1, 1e-5)),
    (aten.native_batch_norm.default, (X, *CHANNELS, True, 0.1, 1e-5)),
    (aten.native_layer_norm.default, (torch.rand(2, 3, 4), [4], torch.rand(4), None, 1e-5)),
    (aten.native_group_norm.default, (torch.rand(2, 4, 5), None, None, 2, 4, 5, 2, 1e-5)),
    (aten.addmm.default, (torch.rand(5), torch.rand(3, 4), torch.rand(4, 5))),
    (aten.bmm.default, (torch.rand(2, 3, 4), torch.rand(2, 5, 4).transpose(1, 2))),
    (aten.constant_pad_nd.default, (torch.rand(2, 3, 4, 5), [1, -1, 0, 2])),
    (aten.reflection_pad2d.default, (torch.rand(2, 3, 4, 5), [1, 2, 0, 1])),
    (aten.pixel_shuffle.default, (torch.rand(2, 8, 4, 5), 2)),
    (aten.upsample_bilinear2d.default, (torch.rand(2, 8, 4, 5), [7, 9], False)),
    (aten.upsample_nearest2d_backward.default, (torch.rand(2, 8, 8, 8), [8, 8], [2, 8, 4, 4])),
    (aten._adaptive_avg_pool2d.default, (torch.rand(2, 8, 4, 5), [3, 2])),
    (aten.adaptive_max_pool2d.default, (torch.rand(2, 8, 4, 5), [3, 2])),
    (aten.slice_backward.default, (torch.rand(2, 2, 4), [2, 5, 4], 1, 0, 2, 1)),
    (aten.masked_fill.Scalar, (torch.rand(2, 3), torch.rand(3) > 0.5, 0.0)),
    (aten.where.self, (torch.rand(2, 1) > 0.5, torch.rand(2, 3), torch.rand(3))),
    (aten.linalg_vector_norm.default, (torch.rand(2, 3), 2, [1], True)),
    (aten.pow.Tensor_Scalar, (torch.rand(2, 3), 2)),
]


@pytest.mark.parametrize(("func", "args"), CASES, ids=lambda v: str(v) if callable(v) else "")
def test_further_operations(func: Callable[..., object], args: tuple[object, ...]) -> None:
    assert check(func, *args)


def test_the_numbers_of_a_network_do_not_depend_on_the_rules() -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8), nn.GELU(), nn.MaxPool2d(3, 2, 1), nn.SiLU()),
        *(nn.ConvTranspose2d(8, 4, 2, stride=2), nn.GroupNorm(2, 4), nn.Sigmoid(), nn.Dropout()),
        *(
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(36, 10),
            nn.LayerNorm(10),
            nn.Softmax(1),
        ),
    )
    quick = summarize(net, (3, 20, 20), batch=2)
    with mock.patch.object(tracer, "RESULTS", {}):
        slow = summarize(net, (3, 20, 20), batch=2)
    assert quick.totals == slow.totals
    assert quick.rows == slow.rows


def test_a_blueprint_has_forms_and_no_values() -> None:
    with Blueprint():
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LSTM(4, 4))
        table = torch.linspace(0, 1, 3).tolist()
        assert torch.get_default_device().type == "meta"
    assert all(t.is_meta or t.dim() == 0 for t in (*net.parameters(), *net.buffers()))
    assert table == [0.0, 0.5, 1.0]
    assert torch.get_default_device().type == "cpu"
    assert not torch.empty(1).is_meta


def test_a_blueprint_costs_no_memory() -> None:
    with Blueprint():
        net = nn.Linear(1 << 20, 1 << 20)  # 4 TiB
    assert summarize(net, (1 << 20,)).totals.params == (1 << 40) + (1 << 20)
