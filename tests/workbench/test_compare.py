import pytest

from convolens.errors import ConfigError
from convolens.models import plain18, resnet18
from convolens.workbench.compare import compare, comparison_json

THREE, ONE = "64x32x32 | [conv 64 3x3 p1 nobias]*3", "64x32x32 | conv 64 7x7 p3 nobias"


def test_three_small_windows_against_a_large_one() -> None:
    """Simonyan and Zisserman (2014), section 2.3: 27 C² weights against 49 C², the same field."""
    graphs = compare(THREE, ONE)
    three, one = (column for column in comparison_json(graphs)["models"])
    assert (three["totals"]["params"], one["totals"]["params"]) == (27 * 64**2, 49 * 64**2)
    assert three["totals"]["macs"] * 49 == one["totals"]["macs"] * 27
    assert three["field"]["size"] == one["field"]["size"] == [7, 7]
    assert (three["layers"], three["output"]) == (3, [64, 32, 32])


def test_naive_and_bottleneck_plain_and_residual() -> None:
    naive, bottleneck = compare("googlenet(naive=True)", "googlenet")
    assert naive.totals.macs > 5 * bottleneck.totals.macs
    plain, residual = compare(plain18(), resnet18(), input_size=(3, 64, 64))
    assert residual.totals.macs - plain.totals.macs == sum(
        row.macs for row in residual.rows if "downsample" in row.name
    )


def test_one_is_not_enough() -> None:
    with pytest.raises(ConfigError, match="compare takes two networks or more, received 1"):
        compare("lenet5")
