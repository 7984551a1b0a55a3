"""`train --find-lr`: which learning rate a training should have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convolens.train.events import Notify, ignore
from convolens.train.files import make_folder, write_bytes
from convolens.train.job import Job
from convolens.train.run import RunFolder, check_out
from convolens.train.stop import stop_signals
from convolens.train.sweep import Sweep, sweep
from convolens.visual.figure import png_bytes
from convolens.visual.rate import rate_curve
from convolens.workbench.train import configure, prepare


@dataclass(frozen=True, kw_only=True)
class FoundRate:
    """What a range test found, and the file of its curve."""

    sweep: Sweep
    figure: Path


def find_rate(
    data: str | None = None,
    *,
    model: str | None = None,
    recipe: str | None = None,
    batch: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    out: str | Path = "runs",
    data_root: str | Path | None = None,
    strict: bool | None = None,
    weights: str | Path | None = None,
    settings: Sequence[str] = (),
    notify: Notify = ignore,
) -> FoundRate:
    """Tries learning rates from 1e-7 to 10 on a training's own network and pictures.

    Args:
        out: the folder in which `lr-find.png` is written; no Run is left.
        data, model, recipe, batch, device, seed, data_root, strict, weights, settings, notify:
            as for `train`.
    Returns: losses, a suggestion, and the file of the curve.
    Raises:
        ConvolensError: when a word, a value or the data is wrong.
    Example:
        >>> find_rate("digits").sweep.suggestion  # doctest: +SKIP
        0.003
    """
    config = configure(
        data,
        model=model,
        recipe=recipe,
        epochs=None,
        batch=batch,
        device=device,
        seed=seed,
        data_root=data_root,
        strict=strict,
        weights=weights,
        settings=settings,
    )
    chosen = batch is not None or any(s.startswith("batch_size") for s in settings)
    folder = Path(out)
    check_out(folder)
    material, _ = prepare(config, notify, shrink_batch=not chosen)
    job = Job(
        config=material.config,
        model=material.plan.place(material.network),
        task=material.task,
        train=material.dataset.train,
        val=material.dataset.val,
        plan=material.plan,
        folder=RunFolder(folder),  # nothing is written to it: a sweep keeps no state
    )
    with stop_signals() as stop:
        found = sweep(job, notify, stop)
    figure = rate_curve(found.rates, found.losses, found.smoothed, found.suggestion)
    make_folder(folder)
    write_bytes(folder / f"{figure.name}.png", png_bytes(figure))
    return FoundRate(sweep=found, figure=folder / f"{figure.name}.png")
