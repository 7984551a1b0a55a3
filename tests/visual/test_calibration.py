import numpy as np
import pytest
import torch

from convolens.errors import DataError, ShapeError
from convolens.visual.calibration import calibration, calibration_of


@pytest.mark.parametrize(("seed", "bins"), [(0, 15), (1, 10), (2, 1)])
def test_the_error_is_that_of_torchmetrics(seed: int, bins: int) -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(500, 7, generator=generator)
    labels = torch.randint(7, (500,), generator=generator)
    confidence, predicted = logits.softmax(1).max(1)
    found = calibration_of(confidence.numpy(), (predicted == labels).numpy(), bins)
    expected = functional.multiclass_calibration_error(
        logits.softmax(1), labels, num_classes=7, n_bins=bins
    )
    assert found.error == pytest.approx(float(expected), abs=1e-6)
    assert found.counts.sum() == 500


def test_bins_include_their_upper_end() -> None:
    found = calibration_of(np.array([0.0, 0.2, 0.21, 1.0]), np.ones(4, bool), bins=5)
    assert found.counts.tolist() == [2, 1, 0, 0, 1]
    assert np.isnan(found.accuracy[2])


def test_the_caption_says_which_way() -> None:
    sure = np.full(10, 0.9)
    wrong = np.arange(10) < 5
    assert "90.0% sure and 50.0% right, more sure than right" in calibration(sure, wrong).caption
    assert calibration(sure, wrong).caption.startswith("Expected calibration error 40.00%")


def test_what_is_no_confidence() -> None:
    with pytest.raises(DataError, match=r"from 0 to 1, received 0\.5 to 1\.5"):
        calibration_of(np.array([0.5, 1.5]), np.ones(2, bool))
    with pytest.raises(ShapeError, match="N at least 1"):
        calibration_of(np.array([]), np.ones(0, bool))
