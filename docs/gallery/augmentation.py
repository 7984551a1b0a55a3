"""The effect of augmentation on few pictures."""

from dataclasses import replace

import numpy as np
import torch
from gallery.story import SEEDS, Numbers, Story, percents, rounded, table, train, workplace

import convolens as cl
from convolens.data.augment import AugmentConfig, augment
from convolens.data.base import Split
from convolens.tasks.classify import Classify
from convolens.visual import Figure
from convolens.visual.panels import Panel, draw_panels, shown
from convolens.workbench.run import Run

SIDE_PX = 16
NET = (
    "1x16x16 | conv 16 3x3 p1 nobias | bn | relu | maxpool "
    "| conv 32 3x3 p1 nobias | bn | relu | maxpool | fc 10"
)
WAYS = {
    "none": AugmentConfig(),
    "shift": AugmentConfig(shift=0.125),
    "shift, turn, scale": AugmentConfig(shift=0.125, rotation=15, scale=0.15),
    "any turn, upside down": AugmentConfig(rotation=180, vertical_flip=0.5),
}
# What a camera might do to the test pictures: none of the ways does quite the same.
MOVED = AugmentConfig(shift=0.125, rotation=20)
EPOCHS = 40
SETTINGS = (
    f"data.image_size={SIDE_PX}",
    "data.val_fraction=0.8",  # a fifth is left to train on: augmentation helps where data lacks
    "batch_size=32",
    "optimizer.lr=0.003",
)


def tell(quick: bool) -> Story:
    """Trains in each way, and tests on the test pictures and on moved ones."""
    numbers: Numbers = {}
    with workplace() as folder:
        test = cl.load_dataset("digits", root=folder, image_size=SIDE_PX).test
        for name, way in WAYS.items():
            fields = ("shift", "rotation", "scale", "vertical_flip")
            settings = [f"augment.{field}={getattr(way, field)}" for field in fields]
            numbers[name] = {"test": [], "moved": [], "train_loss": []}
            for seed in SEEDS[:1] if quick else SEEDS:
                epochs = 1 if quick else EPOCHS
                run = train(
                    folder,
                    "digits",
                    NET,
                    epochs=epochs,
                    seed=seed,
                    settings=(*SETTINGS, *settings),
                )
                numbers[name]["test"].append(rounded(run.test["metrics"]["accuracy"]))
                numbers[name]["moved"].append(rounded(accuracy_on_moved(run, test)))
                numbers[name]["train_loss"].append(rounded(run.rows[-1]["train_loss"]))
    return Story(numbers=numbers, figures={"augmentation": figure(test)})


def accuracy_on_moved(run: Run, test: Split) -> float:
    """The share of right answers on test pictures that were shifted and turned."""
    assert isinstance(run.task, Classify)
    task = replace(run.task, augmentation=MOVED)
    indices = torch.arange(len(test))
    labels = task.targets(test, indices)
    x, _ = task.prepare(test.pictures.batch(indices), labels, torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((run.network()(x).argmax(1) == labels).float().mean())


def figure(split: Split) -> Figure:
    """Three pictures, each changed five times in each way."""
    chosen = torch.tensor([0, 1, 2]).repeat_interleave(5)
    panels = []
    for name, way in {**WAYS, "the moved test": MOVED}.items():
        changed = augment(split.pictures.batch(chosen), torch.Generator().manual_seed(1), way)
        pixels = (changed[:, 0] * 255).round().to(torch.uint8).numpy()
        rows = [
            np.concatenate([*np.pad(row, ((0, 0), (0, 1), (0, 1)), constant_values=190)], 1)
            for row in pixels.reshape(3, 5, SIDE_PX, SIDE_PX)
        ]
        panels.append(Panel(title=name, pixels=shown(np.concatenate(rows)[None], 340)))
    caption = "Three digits, each changed five times in each way."
    return Figure(name="augmentation", caption=caption, pixels=draw_panels(panels, 3))


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (name, f"{np.mean(f['train_loss']):.4f}", percents(f["test"]), percents(f["moved"]))
        for name, f in numbers.items()
    ]
    head = ("augmentation", "training loss at the end", "test accuracy", "moved test pictures")
    return {"augmentation": table(head, rows)}
