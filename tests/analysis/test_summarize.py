import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convolens.analysis.summarize import summarize
from convolens.errors import ConfigError, ShapeError

NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))


def test_bytes_by_hand() -> None:
    """Saved: the input, what batch norm reads, and what ReLU gives, which a convolution reads."""
    graph = summarize(NET, (3, 10, 10), batch=2, optimizer="adam")
    params = 8 * 27 + 8 + 16 + 4 * 72 + 4
    volume = 2 * 8 * 64 * 4
    totals = graph.totals
    assert totals.params == params
    assert (totals.param_bytes, totals.buffer_bytes) == (4 * params, 4 * 16 + 8)
    assert (totals.gradient_bytes, totals.optimizer_bytes) == (4 * params, 8 * params)
    statistics = 2 * 8 * 4
    assert totals.saved_bytes == 2 * 300 * 4 + volume + statistics + volume
    assert [row.saved_bytes for row in graph.rows] == [2400, volume + statistics, volume, 0]
    assert totals.macs == 2 * (8 * 27 * 64 + 4 * 72 * 36)
    assert graph.rows[3].output == (4, 6, 6)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_optimizers_differ_by_their_state(optimizer: str) -> None:
    plain = summarize(NET, (3, 10, 10), batch=64).totals
    graph = summarize(NET, (3, 10, 10), batch=64, optimizer=optimizer)
    copies = {"sgd": 0, "momentum": 1, "adam": 2}[optimizer]
    assert graph.totals.optimizer_bytes == copies * plain.param_bytes
    assert (
        graph.totals.training_peak_bytes == plain.training_peak_bytes + copies * plain.param_bytes
    )


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (nn.Sequential(nn.Conv1d(2, 4, 5, dilation=2), nn.MaxPool1d(2)), (2, 40)),
        (nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.MaxPool3d(2)), (2, 8, 9, 10)),
        (nn.Sequential(nn.Linear(6, 5), nn.ReLU()), (6,)),
        (nn.Sequential(nn.Linear(6, 5)), (3, 6)),
    ],
)
def test_inputs_of_any_shape(net: nn.Module, size: tuple[int, ...]) -> None:
    graph = summarize(net, size, batch=3)
    assert graph.trace.shape(graph.trace.outputs[0]) == tuple(net(torch.zeros(3, *size)).shape)
    assert graph.totals.macs > 0
    assert graph.ran == "meta"


def test_evaluation_only() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("for use only")
            return self.fc(x)

    graph = summarize(Net().train(), (4,))
    assert graph.notes == (
        "memory of training is of evaluation mode, for in training: for use only",
    )
    assert graph.totals.saved_bytes == 16


def test_networks_without_parameters_or_operations() -> None:
    assert summarize(nn.Identity(), (4,)).totals.params == 0
    assert summarize(nn.ReLU(), (4,)).totals.flops == 4
    assert summarize(nn.Sequential(), (4,)).totals.macs == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (3, 8, 8), "batch": 0}, "batch must be a whole number from 1, received 0"),
        ({"input_size": (3, 8, 8), "optimizer": "lion"}, "optimizer must be one of sgd, momentum"),
        ({}, "give either input_size or inputs"),
        ({"input_size": (3, 8, 8), "inputs": torch.ones(1)}, "give either input_size or inputs"),
    ],
)
def test_arguments_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        summarize(NET, **options)


def test_sizes_out_of_range() -> None:
    with pytest.raises(
        ShapeError, match=r"an input size is whole numbers from 1, received \(3, 0\)"
    ):
        summarize(NET, (3, 0))


def test_rows_of_operations_between_layers() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x + self.conv(x) * self.scale, x], 1).flatten(1)

    graph = summarize(nn.Sequential(Block(), nn.ReLU()), (4, 5, 5))
    assert [row.name for row in graph.rows] == ["0.conv", "0.mul", "0.add", "0.cat", "0.view", "1"]
    assert [row.params for row in graph.rows] == [148, 4, 0, 0, 0, 0]
    assert graph.by_name["0.add"].flops == 100


def test_a_second_process_needs_no_compiler(tmp_path: Path) -> None:
    """What takes PyTorch seconds to import is not imported for a plain network."""
    code = """
import json, sys, torch
from convolens.analysis.summarize import summarize
from convolens.analysis.blueprint import Blueprint
from convolens.models import densenet121
with Blueprint():
    net = densenet121()
summarize(net, (3, 224, 224))
heavy = ("sympy", "torch._dynamo", "torchvision")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout) == []


MEASURE = """
import sys, json
sys.path.insert(0, sys.argv[1])
from memory import measure
print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])))
"""


@pytest.mark.parametrize(
    ("word", "side", "batch", "optimizer"),
    [
        ("resnet20", 32, 64, "momentum"),
        ("lenet5(in_channels=3)", 64, 64, "adam"),
        ("nin", 96, 8, "sgd"),
    ],
)
def test_the_training_peak_is_within_five_per_cent_of_real_steps(
    word: str, side: int, batch: int, optimizer: str
) -> None:
    """Real steps in a process of their own, watched by PyTorch's profiler."""
    from convolens.workbench.summary import summarize as by_word

    pytest.importorskip("torch.profiler")
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    words = [str(benchmarks), word, str(side), str(batch), optimizer]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )
    measured = json.loads(done.stdout.splitlines()[-1])["allocated"]
    graph = by_word(word, (3, side, side), batch=batch, optimizer=optimizer)
    assert graph.totals.training_peak_bytes == pytest.approx(measured, rel=0.05)


class GeneralizedRCNNTransform(nn.Module):
    """Stands for torchvision's, which is known by its name."""

    def forward(self, pictures: list[Tensor]) -> Tensor:
        return torch.stack(pictures)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transform, self.conv = GeneralizedRCNNTransform(), nn.Conv2d(3, 4, 3)

    def forward(self, pictures: list[Tensor]) -> Tensor:
        return self.conv(self.transform(pictures))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_list_of_pictures_has_channels_too(batch: int) -> None:
    graph = summarize(Detector(), (3, 32, 24), batch=batch)
    assert graph.inputs == ((batch, 3, 32, 24),)
    assert graph.by_name["conv"].output == (4, 30, 22)
