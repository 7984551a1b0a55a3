"""The data and the test pictures of a Run, where they still are."""

from dataclasses import replace
from pathlib import Path

from convolens.data.base import Split
from convolens.data.registry import dataset_names
from convolens.errors import DataError
from convolens.train.config import DataConfig
from convolens.workbench.material import load
from convolens.workbench.run import Run
from convolens.workbench.tasks import names_for


def own_data(run: Run, data_root: str | Path | None = None) -> DataConfig:
    """The Run's data, as its network reads them.

    Args:
        data_root: where named datasets are; None is where they were.
    """
    form = run.format
    wanted = replace(run.config.data, channels=form.channels, image_size=max(form.size))
    if data_root is None:
        return wanted
    return replace(wanted, root=str(Path(data_root).absolute()))


def own_test_pictures(run: Run, data_root: str | Path | None = None) -> Split:
    """The test split; of a folder, only the pictures that are looked at are decoded.

    Args:
        data_root: where named datasets are; None is where they were.
    Raises:
        DataError: when they are gone, or have other classes than the Run.
    """
    wanted = own_data(run, data_root)
    if wanted.name not in dataset_names() and Path(wanted.name).is_dir():
        wanted = replace(wanted, memory_bytes=0)
    dataset = load(replace(run.config, data=wanted))
    names = names_for(run.config.task, dataset)
    if names != run.task.class_names:
        raise DataError(
            f"{wanted.name} has {len(names)} classes now, and they are not the "
            f"{len(run.task.class_names)} that the Run was trained on"
        )
    return dataset.test
