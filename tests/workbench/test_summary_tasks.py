"""The numbers of every network that segments or detects, by its name alone."""

import pytest

from convolens.models.registry import MODELS
from convolens.workbench.field import field
from convolens.workbench.summary import summarize

SIDE = 64
# What has no count of operations, because it depends on the regions that are found.
UNCOUNTED = {"fast_rcnn": {"torchvision.roi_pool"}, "rcnn": {"torchvision.roi_align"}}
NAMES = [name for name, entry in MODELS.items() if entry.task != "classify"]
# A layer with feature maps of each.
LAYERS = {
    "unet": "down.2.1",
    "yolo": "head.score#2",
    "yolo_v1": "body.conv2",
    "faster_rcnn": "rpn.objectness",
    "fast_rcnn": "body.layer3.1.relu#2",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_counted_or_named(name: str) -> None:
    graph = summarize(name, input_size=(3, SIDE, SIDE))
    assert graph.totals.macs > 0
    assert graph.totals.training_peak_bytes > graph.totals.param_bytes
    assert {one.name for one in graph.uncounted} == UNCOUNTED.get(name, set())
    assert not [row.name for row in graph.rows if "version" in row.name or "promote" in row.name]


@pytest.mark.parametrize("name", NAMES)
def test_the_field_of_a_unit(name: str) -> None:
    if name == "rcnn":
        pytest.skip("every layer of rcnn reads a warped region")
    layer = LAYERS.get(name, "upscore.0" if "resnet" in name else "body.features.9")
    seen = field(name, layer, input_size=(3, SIDE, SIDE))
    if not name.endswith("rcnn"):  # whose regions come after the layer
        assert not seen.unknown
    assert seen.rows is not None
    assert 0 <= seen.rows[0] < seen.rows[1] < SIDE


def test_region_pooling_of_a_fixed_number_of_points() -> None:
    graph = summarize("faster_rcnn", input_size=(3, SIDE, SIDE))
    (row,) = (row for row in graph.rows if row.kind == "roi_align")
    channels, height, width = row.output
    regions = row.flops / (channels * height * width * 4 * 8)
    assert regions == int(regions) > 0
