"""What all stories of the gallery share: how they train, and how their charts and tables look."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

import convolens as cl
from convolens.data.base import Split
from convolens.train.stop import DivergedError
from convolens.visual import Figure
from convolens.visual.axis import Axis, axis_over
from convolens.visual.chart import Line, Panel, draw_chart
from convolens.visual.style import BLUE, GREEN, INK, PURPLE, VERMILLION, Colour
from convolens.workbench.run import Run

SEEDS = (0, 1, 2)
# Okabe and Ito's orange and sky blue, beside the colours that every Figure has.
ORANGE: Colour = (230, 159, 0)
SKY: Colour = (86, 180, 233)
COLOURS: tuple[Colour, ...] = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
# The recipes of `digits` and of `shapes` have these; a story that needs some puts them back.
PLAIN_PICTURES = tuple(
    f"augment.{field}=0"
    for field in (
        *("shift", "flip", "rotation", "scale", "stretch"),
        *("brightness", "contrast", "saturation"),
    )
)

Numbers = dict[str, Any]
Points = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a script has measured and drawn.

    Args:
        numbers: all that the page says, as JSON holds it.
        figures: by the name of their file.
    """

    numbers: Numbers
    figures: Mapping[str, Figure]


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for Runs, and one thread, so that the number of processors changes no result."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        torch.set_num_threads(before)


def train(
    folder: Path, data: str, model: str, *, epochs: int, seed: int = 0, settings: Sequence[str]
) -> Run:
    """`cl.train` in PyTorch's default way, for which nothing is measured on the machine."""
    run: Run = cl.train(
        data,
        model=model,
        epochs=epochs,
        seed=seed,
        device="cpu",
        out=folder,
        settings=["plan=reference", *settings],
    )
    return run


def repeat(
    folder: Path,
    data: str,
    model: str,
    *,
    epochs: int,
    seeds: Sequence[int],
    settings: Sequence[str],
    columns: Sequence[str] = ("train_loss",),
) -> Numbers:
    """Trains once for each seed, and keeps the test accuracies and some columns of the epochs.

    A training whose loss did not stay finite has the accuracy None.
    """
    kept: Numbers = {"accuracies": [], **{name: [] for name in columns}}
    for seed in seeds:
        try:
            run = train(folder, data, model, epochs=epochs, seed=seed, settings=settings)
        except DivergedError:
            kept["accuracies"].append(None)
            continue
        kept["accuracies"].append(rounded(run.test["metrics"]["accuracy"]))
        for name in columns:
            kept[name].append([rounded(row[name]) for row in run.rows])
    return kept


def logits(run: Run, split: Split) -> Tensor:
    """What a Run's network gives for every picture of a split. Shape: -> (N, K)"""
    indices = torch.arange(len(split))
    x, _ = run.task.prepare(split.pictures.batch(indices), run.task.targets(split, indices), None)
    with torch.no_grad():
        given: Tensor = run.network()(x)
    return given


def rounded(value: float, digits: int = 4) -> float:
    """So many significant digits."""
    return float(f"{value:.{digits}g}")


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the seeds at each epoch."""
    return [float(value) for value in np.mean(curves, axis=0)]


def percents(shares: Sequence[float]) -> str:
    """Mean, least and greatest: "97.1 % (96.8 to 97.4)"."""
    mean, least, most = (100 * v for v in (float(np.mean(shares)), min(shares), max(shares)))
    return f"{mean:.1f} % ({least:.1f} to {most:.1f})"


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Mean, least and greatest: "0.213 (0.198 to 0.224)"."""
    mean = float(np.mean(values))
    return f"{mean:{form}} ({min(values):{form}} to {max(values):{form}})"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def panel(
    title: str,
    x_name: str,
    x: Sequence[float],
    curves: Mapping[str, Points],
    *,
    y: Axis | None = None,
    log_x: bool = False,
    whole_x: bool = False,
    colours: Sequence[Colour] = COLOURS,
    width_px: int = 640,
) -> Panel:
    """Curves over one axis; None in a curve leaves a gap."""
    drawn = {
        name: np.array([np.nan if v is None else v for v in values], np.float64)
        for name, values in curves.items()
    }
    seen = [float(v) for values in drawn.values() for v in values if np.isfinite(v)]
    return Panel(
        title=title,
        width_px=width_px,
        x=axis_over(x, log=log_x, whole=whole_x),
        y=y or axis_over(seen, from_zero=True),
        x_name=x_name,
        lines=[
            Line(label=name, colour=colour, x=np.asarray(x, np.float64), y=values)
            for (name, values), colour in zip(drawn.items(), colours, strict=False)
        ],
    )


def chart(name: str, caption: str, panels: Sequence[Panel], heading: str = "") -> Figure:
    return Figure(name=name, caption=caption, pixels=draw_chart(panels, heading))
