"""Pictures with targets: read from files, drawn by code, split, and served by the batch."""

from convolens.data.base import Dataset, MemoryPictures, Pictures, Problem, Split
from convolens.data.files import new_problems
from convolens.data.loader import Batch, batches
from convolens.data.picture import (
    PictureFormat,
    fit_picture,
    fit_with_inversion,
    read_as,
    read_picture,
)
from convolens.data.registry import DATASETS, dataset_names, describe_datasets, load_dataset
from convolens.data.splits import carve_validation

__all__ = [
    "DATASETS",
    "Batch",
    "Dataset",
    "MemoryPictures",
    "PictureFormat",
    "Pictures",
    "Problem",
    "Split",
    "batches",
    "carve_validation",
    "dataset_names",
    "describe_datasets",
    "fit_picture",
    "fit_with_inversion",
    "load_dataset",
    "new_problems",
    "read_as",
    "read_picture",
]
