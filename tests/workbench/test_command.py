import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convolens.cli import main
from convolens.data.root import cache_folder
from convolens.train.config import Config, ModelConfig
from convolens.workbench import train as training
from convolens.workbench.command import command_of
from convolens.workbench.train import configure


def given(data: str | None, settings: Sequence[str] = (), **words: Any) -> Config:
    names = (
        "model",
        "recipe",
        "epochs",
        "batch",
        "device",
        "seed",
        "data_root",
        "strict",
        "weights",
    )
    return configure(data, **(dict.fromkeys(names) | words), settings=settings)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Config]:
    """The configuration that the program comes to when a line is typed."""
    seen: list[Config] = []

    def train(data: str | None, **words: Any) -> None:
        for name in ("out", "name", "resume", "report", "notify", "processes"):
            words.pop(name)
        seen.append(configure(data, **words))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)

    def typed(line: str) -> Config:
        program, *words = shlex.split(line)
        assert program == "convolens"
        with pytest.raises(SystemExit):
            main(words)
        return seen[-1]

    return typed


# Each is made in its test, where the cache folder is the tests' own.
CONFIGS = {
    "the default": lambda: given("digits"),
    "epochs and seed": lambda: given("digits", epochs=3, seed=7, batch=32),
    "another optimizer": lambda: given("digits", ["optimizer.name=sgd", "optimizer.lr=0.05"]),
    "momentum": lambda: given("digits", ["optimizer.name=sgd", "optimizer.momentum=0.5"]),
    "a schedule": lambda: given("mnist", ["schedule.name=step", "schedule.step_size=5"]),
    "a recipe": lambda: given("cifar10", recipe="cifar10_fast"),
    "a recipe and more": lambda: given("cifar10", ["augment.flip=0"], recipe="cifar10_resnet18"),
    "another model": lambda: given("cifar10", model="resnet20"),
    "its options": lambda: given("cifar10", ["model.dropout=0.25"], model="nin"),
    "notation": lambda: given("digits", model="1x32x32 | conv 8 3x3 | relu | maxpool | fc 10"),
    "a root": lambda: given("mnist", data_root="/some where/data"),
    "a folder": lambda: given(
        "/pictures/of my own", ["data.image_size=64", "tta=flip"], strict=True
    ),
    "weights": lambda: given("digits", weights="/runs/first"),
    "a device": lambda: given("digits", ["plan=reference"], device="cpu"),
    "early stopping": lambda: given("digits", ["stop.patience=3", "penalty.l2=1e-4"]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_typed_again_it_gives_the_same_configuration(
    name: str, typed: Callable[[str], Config]
) -> None:
    config = CONFIGS[name]()
    command = command_of(config)
    assert command.is_exact
    assert typed(command.text) == config


def test_it_says_no_more_than_it_must() -> None:
    texts = {name: command_of(make()).text for name, make in CONFIGS.items()}
    assert texts["the default"] == "convolens train digits --model lenet5"
    assert texts["epochs and seed"].endswith("--model lenet5 --epochs 3 --batch 32 --seed 7")
    assert texts["a recipe"].startswith("convolens train cifar10 --recipe cifar10_fast --model ")
    assert "--set" not in texts["a recipe"]
    assert texts["a root"].endswith("--data-root '/some where/data'")
    assert "'/pictures/of my own'" in texts["a folder"]


def test_the_users_cache_needs_no_word() -> None:
    assert "--data-root" not in command_of(given("mnist", data_root=cache_folder())).text


def test_what_no_word_says_is_admitted() -> None:
    config = given("digits")
    model = ModelConfig(name="lenet5", options={"widths": [1, 2]})
    command = command_of(replace(config, model=model))
    assert not command.is_exact
    assert command.text.startswith("convolens train digits --model lenet5")


def test_a_folder_is_named_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    config = given(str(tmp_path / "pictures"))
    assert command_of(config).text.startswith(f"convolens train {tmp_path}/pictures --model ")
