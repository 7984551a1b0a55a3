"""What is called, recorded and remembered."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from convolens.analysis.summarize import summarize
from convolens.errors import ConfigError


@dataclass
class Outcome:
    logits: Tensor
    features: list[Tensor]


class Giving(nn.Module):
    """Gives its outputs in a form of its own."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.form = form

    def forward(self, x: Tensor) -> object:
        y = self.conv(x)
        forms = {
            "tensor": y,
            "tuple": (y, (x,)),
            "dict": {"out": y, "aux": [x]},
            "dataclass": Outcome(y, [x]),
            "named": namedtuple("Named", "a b")(y, x),
            "none": (y, None, 3),
        }
        return forms[self.form]


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "dataclass", "named", "none"])
def test_outputs_of_every_form(form: str) -> None:
    graph = summarize(Giving(form), (3, 8, 8), batch=2)
    assert graph.rows[0].macs == 2 * 27 * 4 * 36
    shapes = [graph.trace.shape(value) for value in graph.trace.outputs]
    assert shapes[0] == (2, 4, 6, 6)
    assert len(shapes) == (1 if form in ("tensor", "none") else 2)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.image = nn.Conv2d(3, 8, 3)

    def forward(self, image: Tensor, words: Tensor, *, scale: float = 1.0) -> Tensor:
        return scale * self.image(image).mean((2, 3)) + self.words(words).mean(1)


def test_several_inputs_with_types_of_their_own() -> None:
    sizes, dtypes = [(3, 8, 8), (5,)], [torch.float32, torch.int64]
    graph = summarize(Two(), sizes, batch=4, dtypes=dtypes)
    assert graph.inputs == ((4, 3, 8, 8), (4, 5))
    assert graph.totals.params == 400 + 27 * 8 + 8
    named = {"words": torch.zeros(4, 5, dtype=torch.int64), "image": torch.ones(4, 3, 8, 8)}
    assert summarize(Two(), inputs=named).totals == graph.totals
    assert summarize(Two(), inputs=(named["image"], named["words"])).totals == graph.totals
    with pytest.raises(ConfigError, match="2 inputs need as many dtypes, received 1"):
        summarize(Two(), sizes, dtypes=dtypes[:1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_networks_own_type_is_the_inputs(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to(dtype)
    graph, single = summarize(net, (3, 8, 8)), summarize(net.to(torch.float32), (3, 8, 8))
    assert {graph.trace.values[value].dtype for value in graph.trace.outputs} == {dtype}
    assert graph.totals.macs == single.totals.macs
    size = torch.empty((), dtype=dtype).itemsize
    assert graph.totals.param_bytes == single.totals.param_bytes * size // 4


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


def test_a_module_that_is_called_twice() -> None:
    graph = summarize(Shared(), (4, 8, 8))
    assert [row.name for row in graph.rows] == ["conv", "relu", "conv#2"]
    assert [row.params for row in graph.rows] == [148, 0, 0]
    assert graph.rows[0].macs == graph.rows[2].macs == 36 * 4 * 64
    assert graph.totals.params == 148


class Fallback(nn.Module):
    """Tries a layer that does not fit and goes on with another."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong, self.right = nn.Conv2d(9, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.wrong(x)
        except RuntimeError:
            return F.relu(self.right(x))


def test_an_error_that_the_network_catches() -> None:
    graph = summarize(nn.Sequential(Fallback(), nn.Flatten()), (3, 8, 8))
    assert graph.totals.macs == 27 * 4 * 36
    assert graph.unused == ("0.wrong.weight", "0.wrong.bias")
    assert graph.rows[-1].output == (144,)


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.mean() > 10 else self.b(x)


def test_where_values_decide_it_runs_for_real_and_says_so() -> None:
    graph = summarize(Deciding(), (3, 8, 8))
    assert graph.ran == "real"
    assert graph.notes[0].startswith("values decide what Deciding does, so it ran for real")
    assert graph.totals.macs == 3 * 4 * 64
    with torch.device("meta"):
        net = Deciding()
    with pytest.raises(ConfigError, match="its weights have none: they are on the meta device"):
        summarize(net, (3, 8, 8))


class Loop(nn.Module):
    """As many steps as a number says that is in a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = torch.tensor([1, 2])
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(self.steps.sum())):
            x = self.conv(x)
        return x


def test_tables_that_are_no_buffers_keep_their_values() -> None:
    graph = summarize(Loop(), (3, 8, 8))
    assert graph.ran == "meta"
    assert [row.name for row in graph.rows if row.macs] == ["conv", "conv#2", "conv#3"]


def test_networks_on_the_meta_device_and_scripted_ones() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    totals = summarize(net, (3, 8, 8)).totals
    assert summarize(net.to("meta"), (3, 8, 8)).totals == totals


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_scripted_networks() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    totals = summarize(net, (3, 8, 8)).totals
    scripted = summarize(torch.jit.script(net), (3, 8, 8))
    assert (scripted.totals.macs, scripted.totals.params) == (totals.macs, totals.params)
    traced = summarize(torch.jit.trace(net, torch.ones(1, 3, 8, 8)), (3, 8, 8))
    assert (traced.totals.macs, traced.totals.params) == (totals.macs, totals.params)


def test_lazy_layers() -> None:
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(ConfigError) as caught:
        summarize(net, (3, 4))
    assert str(caught.value) == (
        "Sequential has a lazy layer whose shape is not known yet: 1.weight\n"
        "Call the network once on an input, and summarize it then."
    )
    net(torch.ones(1, 3, 4))
    assert summarize(net, (3, 4)).totals.macs == 60


def test_compiled_networks_are_not_compiled() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    wrapped = nn.Module()
    wrapped._orig_mod = net  # as torch.compile gives it
    assert summarize(wrapped, (3, 8, 8)).totals.macs == 27 * 4 * 36


class Checkpointed(nn.Module):
    def __init__(self, is_checkpointed: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)])
        self.is_checkpointed = is_checkpointed

    def forward(self, x: Tensor) -> Tensor:
        if self.is_checkpointed and self.training:
            return checkpoint(self.body, x, use_reentrant=False)
        return self.body(x)


def test_checkpointing_saves_the_input_alone() -> None:
    plain, saving = (summarize(Checkpointed(c), (4, 32, 32)).totals for c in (False, True))
    assert plain.saved_bytes == 4 * 4 * 4 * 1024
    assert saving.saved_bytes == 4 * 4 * 1024
    assert saving.macs == plain.macs


def test_frozen_parameters_have_no_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    every = summarize(net, (3, 8, 8), optimizer="adam").totals
    net[0].requires_grad_(False)
    part = summarize(net, (3, 8, 8), optimizer="adam").totals
    assert part.params == every.params
    assert part.trainable_params == 148
    assert part.gradient_bytes == 4 * 148
    assert part.optimizer_bytes == 8 * 148
    assert part.saved_bytes < every.saved_bytes
    net.requires_grad_(False)
    assert summarize(net, (3, 8, 8)).totals.gradient_bytes == 0


def test_functional_dropout_is_of_training_alone() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x.relu(), 0.5, self.training)

    graph = summarize(Net(), (3, 8, 8))
    assert graph.totals.flops == 192


def test_writing_in_place_and_into_parts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = x.new_zeros(x.shape[0], 4, 8, 8)
            y[:, :2] = self.a(x)
            y[:, 2:].add_(self.b(x))
            return F.relu_(y)

    graph = summarize(Net(), (3, 8, 8))
    assert graph.totals.macs == 2 * 27 * 2 * 64
    assert graph.unused == ()
    reads = {value for operation in graph.trace.operations for value in operation.inputs}
    assert {row.value for row in graph.rows[:2]} <= reads


def test_around_it_no_gradient_and_backward_hooks() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    totals = summarize(net, (3, 8, 8)).totals
    net[0].register_full_backward_hook(lambda *_: None)
    with torch.inference_mode():
        assert summarize(net, (3, 8, 8)).totals == totals
    with torch.no_grad():
        assert summarize(net, (3, 8, 8)).totals == totals
    assert all(p.grad is None for p in net.parameters())


def test_outputs_without_gradient_and_errors_on_the_way_back() -> None:
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(_: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(*_: object) -> Tensor:
            raise RuntimeError("no way back")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return Stop.apply(self.fc(x))

    graph = summarize(Net(), (4,))
    assert graph.totals.macs == 16
    assert graph.notes == ("memory of training is not known: no way back",)
    assert summarize(nn.Sequential(nn.Flatten()), (4,)).totals.saved_bytes == 0


def through_a_view_of_all(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    y.view(-1).mul_(2.0)
    return y + 1


def through_a_slice_of_all(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    y[:].mul_(2.0)
    return y + 1


def under_a_view(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    part = y[:, :1]
    y.mul_(2.0)
    return part + 1


def into_the_input(conv: nn.Module, x: Tensor) -> Tensor:
    x[:, 0].mul_(2.0)
    return conv(x)


class Writing(nn.Module):
    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.run = nn.Conv2d(3, 4, 3), run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.conv, x)


@pytest.mark.parametrize(
    "run", [through_a_view_of_all, through_a_slice_of_all, under_a_view, into_the_input]
)
def test_what_is_read_after_a_write_depends_on_it(run: Callable[..., Tensor]) -> None:
    trace = summarize(Writing(run), (3, 8, 8)).trace
    makers = {value: operation for operation in trace.operations for value in operation.outputs}
    reached, todo = set(), list(trace.outputs)
    while todo:
        operation = makers.get(todo.pop())
        if operation is not None:
            reached.add(operation.name)
            todo.extend(operation.inputs)
    assert {"aten.mul_", "aten.convolution"} <= reached


def test_a_write_without_views_needs_no_joining() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    names = [operation.name for operation in summarize(net, (3, 8, 8)).trace.operations]
    assert names == ["aten.convolution", "aten.relu_", "aten.view"]
