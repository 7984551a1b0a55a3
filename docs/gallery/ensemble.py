"""An ensemble of three."""

from itertools import combinations

import numpy as np
import torch
from gallery.story import (
    PLAIN_PICTURES,
    Numbers,
    Story,
    chart,
    logits,
    panel,
    percents,
    rounded,
    table,
    train,
    workplace,
)
from torch import Tensor

import convolens as cl
from convolens.visual import Figure
from convolens.visual.axis import axis_over

NET = (
    "1x8x8 | conv 16 3x3 p1 nobias | bn | relu | maxpool "
    "| conv 32 3x3 p1 nobias | bn | relu | maxpool | fc 10"
)
MEMBERS = 9
EPOCHS = 30
SETTINGS = (
    "data.image_size=8",
    "data.val_fraction=0.8",  # a fifth is left to train on, so that there are mistakes to repair
    "batch_size=32",
    "optimizer.lr=0.003",
    *PLAIN_PICTURES,
)


def tell(quick: bool) -> Story:
    """Trains nine networks that differ in their seed, and joins them in every way."""
    count = 3 if quick else MEMBERS
    with workplace() as folder:
        test = cl.load_dataset("digits", root=folder, image_size=8).test
        runs = [
            train(
                folder,
                "digits",
                NET,
                epochs=1 if quick else EPOCHS,
                seed=seed,
                settings=SETTINGS,
            )
            for seed in range(count)
        ]
        chances = torch.stack([logits(run, test).double().softmax(1) for run in runs])
        first = cl.eval(runs[:3])
    labels = torch.as_tensor(test.targets["label"])
    groups = [list(map(list, combinations(range(count), k))) for k in range(1, count + 1)]
    numbers: Numbers = {
        "accuracies": [[accuracy(chances[g], labels) for g in size] for size in groups],
        "losses": [rounded(mean_loss(chances, size, labels)) for size in groups],
        "first_three": rounded(first.metrics["accuracy"]),
        "mistakes": mistakes(chances[:3], labels),
    }
    return Story(numbers=numbers, figures={"ensemble": figure(numbers)})


def accuracy(chances: Tensor, labels: Tensor) -> float:
    """Of the mean of the members' probabilities. Shape: chances (M, N, K), labels (N,)"""
    return rounded(float((chances.mean(0).argmax(1) == labels).double().mean()))


def mean_loss(chances: Tensor, groups: list[list[int]], labels: Tensor) -> float:
    """The cross entropy of the mean probabilities, its mean over all groups."""
    rows = torch.arange(len(labels))
    losses = [-chances[group].mean(0)[rows, labels].log().mean() for group in groups]
    return float(torch.stack(losses).mean())


def mistakes(chances: Tensor, labels: Tensor) -> dict[str, int]:
    """How many pictures so many of three members get wrong, and how many the three together."""
    wrong = (chances.argmax(2) != labels).sum(0)
    together = int((chances.mean(0).argmax(1) != labels).sum())
    return {
        "one": int((wrong == 1).sum()),
        "two": int((wrong == 2).sum()),
        "three": int((wrong == 3).sum()),
        "together": together,
        "pictures": len(labels),
    }


def figure(numbers: Numbers) -> Figure:
    groups = numbers["accuracies"]
    members = range(1, len(groups) + 1)
    curves = {
        "best": [max(group) for group in groups],
        "mean": [float(np.mean(group)) for group in groups],
        "worst": [min(group) for group in groups],
    }
    seen = [v for curve in curves.values() for v in curve]
    accuracies = panel(
        "test accuracy",
        "members",
        members,
        curves,
        y=axis_over(seen, percent=True),
        whole_x=True,
        width_px=560,
    )
    losses = panel(
        "test loss", "members", members, {"mean": numbers["losses"]}, whole_x=True, width_px=420
    )
    caption = "Test accuracy and loss of ensembles of one to nine of the same nine networks."
    heading = f"every choice out of {len(groups)} networks"
    return chart("ensemble", caption, [accuracies, losses], heading)


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (size, len(group), percents(group), f"{numbers['losses'][size - 1]:.3f}")
        for size, group in enumerate(numbers["accuracies"], start=1)
        if size in (1, 2, 3, 5, 9)
    ]
    wrong = numbers["mistakes"]
    several = wrong["one"] + wrong["two"] + wrong["three"]
    return {
        "ensemble": table(("members", "ensembles", "test accuracy", "mean test loss"), rows),
        "mistakes": [
            f"Of {wrong['pictures']} test pictures, {several} are wrong for at least one of the "
            f"first three networks: {wrong['one']} for one, {wrong['two']} for two and "
            f"{wrong['three']} for all three. Together they get {wrong['together']} wrong, an "
            f"accuracy of {numbers['first_three']:.1%}.".replace("%", " %")
        ],
    }
