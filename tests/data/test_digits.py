import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits as load_oracle

from convolens.data.digits import DIGITS_FORMAT, load_digits
from convolens.data.picture import PictureFormat, fit_with_inversion

NATIVE = PictureFormat(channels=1, size=(8, 8), fit="pad", background=0)


def test_the_digits_are_scikit_learns() -> None:
    dataset = load_digits(format=NATIVE)
    values, labels = load_oracle(return_X_y=True)
    scaled = np.floor(values * 255 / 16 + 0.5).reshape(-1, 8, 8)
    seen = []
    for split in (dataset.train, dataset.test):
        places = [int(name.removeprefix("digit ")) for name in split.names]
        pixels = split.pictures.batch(torch.arange(len(split)))
        assert np.array_equal(pixels[:, 0].numpy(), scaled[places])
        assert torch.as_tensor(split.targets["label"]).tolist() == labels[places].tolist()
        seen += places
    assert sorted(seen) == list(range(1797))


def test_a_fifth_of_each_digit_is_the_test() -> None:
    dataset = load_digits()
    train = torch.as_tensor(dataset.train.targets["label"]).bincount()
    test = torch.as_tensor(dataset.test.targets["label"]).bincount()
    assert torch.equal(test, ((train + test) * 0.2 + 0.5).long())
    assert dataset.class_names == tuple("0123456789")
    assert dataset.test.names == load_digits(format=NATIVE).test.names


def test_a_saved_digit_is_shown_as_the_dataset_shows_it() -> None:
    small, shown = load_digits(format=NATIVE), load_digits()
    some = torch.arange(0, len(small.test), 7)
    pairs = zip(small.test.pictures.batch(some), shown.test.pictures.batch(some), strict=True)
    for pixels, expected in pairs:
        fitted, inverted = fit_with_inversion(Image.fromarray(pixels[0].numpy()), DIGITS_FORMAT)
        assert not inverted
        assert torch.equal(fitted, expected)
