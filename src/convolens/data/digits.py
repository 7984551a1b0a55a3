"""The handwritten digits that come with scikit-learn: 1,797 of 8 x 8 pixels."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convolens.data.base import Dataset, MemoryPictures, Split
from convolens.data.picture import PictureFormat, fit_pixels
from convolens.data.splits import stratified_split
from convolens.errors import UnavailableError

DIGITS_FORMAT = PictureFormat(channels=1, size=(32, 32), fit="pad", background=0)


def load_digits(*, format: PictureFormat = DIGITS_FORMAT) -> Dataset:
    """Reads scikit-learn's digits, 16 grey values each, scaled to 0..255 and to the format's size.

    A fifth of each digit, always the same fifth, is the test split.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository.
    """
    values, labels = _read()
    pixels = fit_pixels(((values.to(torch.int32) * 255 + 8) // 16).to(torch.uint8), format)
    train, test = stratified_split(labels, 0.2, seed=0)
    whole = Split(
        pictures=MemoryPictures(pixels),
        targets={"label": labels},
        names=[f"digit {index}" for index in range(len(labels))],
    )
    return Dataset(
        name="digits",
        class_names=tuple("0123456789"),
        format=format,
        train=whole.select(train),
        val=None,
        test=whole.select(test),
    )


def _read() -> tuple[Tensor, Tensor]:
    """Values 0..16 (1797, 1, 8, 8) and labels (1797,)."""
    spec = find_spec("sklearn")  # its file is read, not its code: importing it takes a second
    if spec is None or spec.origin is None:
        raise UnavailableError("the digits come with scikit-learn, which is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32).astype(np.int64)
    else:
        from sklearn.datasets import load_digits as load  # the file has moved

        values, labels = load(return_X_y=True)
        table = np.concatenate((values, labels[:, None]), axis=1).astype(np.int64)
    values_t = torch.from_numpy(table[:, :64]).to(torch.uint8).reshape(-1, 1, 8, 8)
    return values_t, torch.from_numpy(table[:, 64].copy())
