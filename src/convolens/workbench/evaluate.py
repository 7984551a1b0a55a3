"""`eval`: the metrics of a Run on the test split."""

from dataclasses import replace
from pathlib import Path

from convolens.errors import DataError
from convolens.train.loop import evaluate as evaluate_split
from convolens.workbench.material import load
from convolens.workbench.run import Run


def evaluate(
    run: str | Path | Run,
    data: str | None = None,
    *,
    data_root: str | Path | None = None,
    device: str | None = None,
) -> dict[str, float]:
    """The metrics of a Run's network on a test split.

    Args:
        run: a Run or its folder.
        data: another dataset with the same classes; None is the Run's own.
        data_root: where named datasets are; None is where they were.
        device: "cpu" or "cuda"; None is the Run's.
    Returns: metrics by name; on the Run's own data and machine, those of its training to the
        last digit.
    Raises:
        DataError: when the dataset's classes are not the Run's.
        RunError: when the Run is damaged.
    """
    opened = Run.open(run)
    wanted = opened.config.data
    format = opened.format
    wanted = replace(wanted, channels=format.channels, image_size=format.size[0])
    if data is not None:
        wanted = replace(wanted, name=data)
    if data_root is not None:
        wanted = replace(wanted, root=str(Path(data_root).absolute()))
    dataset = load(replace(opened.config, data=wanted))
    if dataset.class_names != opened.task.class_names:
        raise DataError(
            f"{dataset.name} has the classes {_listed(dataset.class_names)}, "
            f"the Run was trained on {_listed(opened.task.class_names)}"
        )
    network = opened.network(device)
    return evaluate_split(network, opened.task, dataset.test, opened.plan(device)).metrics()


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
