"""How large a dataset's objects are beside what the units of a layer see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convolens.data.registry import load_dataset
from convolens.data.root import cache_folder
from convolens.errors import DataError
from convolens.workbench.field import field


@dataclass(frozen=True, kw_only=True)
class ObjectsBesideField:
    """The share of objects that are larger than what one unit sees.

    Args:
        layer: the unit's layer; the unit is the middle one.
        field: height and width of what it sees [px].
        num_objects: how many boxes the training pictures have.
        larger: the share of them whose height or width is larger than the field's.
        larger_by_class: the same for each class that has objects.
        median: of the objects' heights and widths [px].
    """

    layer: str
    field: tuple[int, int]
    num_objects: int
    larger: float
    larger_by_class: Mapping[str, float]
    median: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "field": list(self.field),
            "num_objects": self.num_objects,
            "median": list(self.median),
            "larger": self.larger,
            "larger_by_class": dict(self.larger_by_class),
        }


def objects_beside_field(
    model: str | Path | nn.Module,
    layer: str,
    data: str,
    *,
    input_size: Sequence[int] | None = None,
    data_root: str | Path | None = None,
) -> ObjectsBesideField:
    """The share of a dataset's objects that do not fit into what a layer's units see.

    Such an object can only be found by its parts. The field is the exact one of the layer's
    middle unit, for pictures of the dataset's size.

    Args:
        model, layer: as of `field`.
        data: a dataset with boxes, by name or path.
        input_size: (C, H, W) of the pictures; by default the dataset's own.
        data_root: where named datasets are; None is a cache folder of the user's.
    Raises:
        DataError: when the dataset has no boxes.
        ConfigError: when the network has no such layer.
    """
    dataset = load_dataset(
        data,
        root=Path(data_root) if data_root is not None else cache_folder(),
        image_size=None if input_size is None else max(input_size[1:]),
    )
    boxes, labels = (dataset.train.targets.get(kind) for kind in ("boxes", "box_labels"))
    if boxes is None or labels is None or not sum(map(len, boxes)):
        raise DataError(f"{data} has no boxes to measure")
    size = input_size or (dataset.format.channels, *dataset.format.size)
    seen = field(model, layer, input_size=size)
    if seen.rows is None or seen.cols is None:
        raise DataError(f"the units of {layer} see nothing of the picture")
    extent = (seen.rows[1] - seen.rows[0] + 1, seen.cols[1] - seen.cols[0] + 1)
    every, kinds = torch.cat([*boxes]).double(), torch.cat([*labels])
    sides = torch.stack((every[:, 3] - every[:, 1], every[:, 2] - every[:, 0]), dim=1)
    too_large = (sides > torch.tensor(extent)).any(dim=1).double()
    by_class = {
        name: float(too_large[kinds == label].mean())
        for label, name in enumerate(dataset.class_names)
        if (kinds == label).any()
    }
    height, width = sides.median(dim=0).values.tolist()
    return ObjectsBesideField(
        layer=layer,
        field=extent,
        num_objects=len(every),
        larger=float(too_large.mean()),
        larger_by_class=by_class,
        median=(height, width),
    )
