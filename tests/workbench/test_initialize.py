"""A network that sees pictures before it learns, and the rest that `cifar10_fast` needs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convolens.models.airbench import whitening_filters
from convolens.train.events import Event, Stepped
from convolens.train.stop import StoppedError, StopRequest
from convolens.workbench.material import initial_network, load
from convolens.workbench.run import Run
from convolens.workbench.tasks import make_task
from convolens.workbench.train import train

SETTINGS = [
    "optimizer.name=nesterov",
    "optimizer.lr=0.3",
    "optimizer.decay_norms=true",
    "optimizer.weight_decay=0.001",
    "optimizer.rates=block*.norm*.bias:64",
    "average.decay=0.95",
    "average.lookahead=5",
    "augment.flip=0.5",
    "augment.alternate=true",
    "augment.shift=0.06",
    "tta=shifts",
]
SMALL = """
from convolens.models.airbench import airbench94

def small(num_classes, in_channels, image_size):
    return airbench94(num_classes, in_channels, image_size, widths=(4, 8, 8))
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    file = tmp_path / "small.py"
    file.write_text(SMALL, encoding="utf-8")
    return {"model": f"{file}:small", "epochs": 2, "out": tmp_path, "settings": SETTINGS}


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    requests: list[StopRequest] = []
    make = StopRequest.__init__

    def remember(self: StopRequest) -> None:
        make(self)
        requests.append(self)

    monkeypatch.setattr(StopRequest, "__init__", remember)

    def notify(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            requests[-1].handle(15, None)

    return notify


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder.weights_file("last"))


def test_the_filters_are_those_of_the_training_pictures(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("digits", name="whole", **options)  # type: ignore[arg-type]
    dataset = load(whole.config)
    task = make_task(whole.config, dataset)
    indices = torch.arange(len(dataset.train))
    labels = task.targets(dataset.train, indices)
    pictures, _ = task.prepare(dataset.train.pictures.batch(indices), labels, None)
    expected = whitening_filters(pictures, 2)
    torch.testing.assert_close(weights(whole)["whiten.weight"], expected)
    # A network that is only built has other filters; one that is loaded has the Run's.
    built = initial_network(whole.config, dataset).state_dict()["whiten.weight"]
    assert not torch.allclose(built, expected)
    loaded = whole.network().state_dict()["whiten.weight"]
    assert torch.equal(loaded, weights(whole)["whiten.weight"])
    # Stopped between two updates of the lookahead, in the second epoch, it ends the same.
    with pytest.raises(StoppedError):
        train("digits", name="stopped", notify=stop_at(23, monkeypatch), **options)  # type: ignore[arg-type]
    resumed = train(resume=whole.path.parent / "stopped")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert whole.test["metrics"] == resumed.test["metrics"]


def test_alternating_flips_change_what_is_learnt(options: dict[str, object]) -> None:
    chance = [*SETTINGS, "augment.alternate=false"]
    runs = [
        train("digits", **{**options, "epochs": 1, "settings": settings})  # type: ignore[arg-type]
        for settings in (SETTINGS, SETTINGS, chance)
    ]
    first, again, other = (weights(run)["fc.weight"] for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
