"""A network on paper, as the Design page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from convolens.analysis.field import Fields, Textbook, fields_of
from convolens.analysis.summarize import Graph, Optimizer
from convolens.analysis.table import Lines, lines_of
from convolens.errors import ConfigError
from convolens.visual.network import draw_network
from convolens.visual.volumes import volumes_of
from convolens.workbench.summary import summarize

OPTIMIZERS = ("sgd", "momentum", "adam")
MOST_BATCH = 1_000_000
MOST_PIXELS = 4096**2


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a person has typed.

    Args:
        model: a MODEL word.
        size: "3x224x224"; empty for what the network is made for.
        batch: pictures in the pass.
        optimizer: for the memory of training.
        width_px: how wide the drawing may be.
    """

    model: str
    size: str = ""
    batch: int = 1
    optimizer: str = "sgd"
    width_px: float = 1200.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketch:
    """A network with its numbers and its drawing.

    Args:
        lines: the table, a line for each row of the graph.
        svg: the drawing.
        drawn: the layer of each box in it; "" for an input.
    """

    graph: Graph
    lines: Lines
    svg: str
    drawn: tuple[str, ...]

    @cached_property
    def fields(self) -> Fields:
        """The receptive fields of all units."""
        return fields_of(self.graph.trace)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the picture that the network reads.

        None where it reads none, or one that is too large to be shown.
        """
        shape = self.graph.inputs[0][1:]
        if len(shape) != 3 or shape[1] * shape[2] > MOST_PIXELS:
            return None
        return shape[1], shape[2]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a unit sees.

    Args:
        unit: (y, x), or nothing of a layer that gives a vector.
        rows, cols: of the picture, first and last; None where it sees nothing of it.
        textbook: size, stride and start, where the network is regular.
    """

    unit: tuple[int, ...]
    rows: tuple[int, int] | None
    cols: tuple[int, int] | None
    textbook: Textbook | None


def sketch_of(words: Words) -> Sketch:
    """The network that the words describe.

    Raises:
        ConvolensError: when they describe none, or one that cannot read its input.
    Example:
        >>> sketch = sketch_of(Words(model="1x28x28 | conv 8 3x3 | fc 10"))
        >>> sketch.graph.totals.params, [row.name for row in sketch.graph.rows][:1]
        (54170, ['conv1'])
    """
    if not 1 <= words.batch <= MOST_BATCH:
        raise ConfigError(f"batch must be from 1 to {MOST_BATCH:,}, received {words.batch}")
    if words.optimizer not in OPTIMIZERS:
        raise ConfigError(f"optimizer must be one of {', '.join(OPTIMIZERS)}")
    optimizer = cast("Optimizer", words.optimizer)
    size = size_of(words.size)
    graph = summarize(words.model, size, batch=words.batch, optimizer=optimizer)
    volumes = volumes_of(graph)
    return Sketch(
        graph=graph,
        lines=lines_of(graph, fold=False),
        svg=draw_network(volumes, title=graph.model, width_px=words.width_px),
        drawn=tuple(volume.layer for volume in volumes),
    )


def size_of(word: str) -> tuple[int, ...] | None:
    """The size that a person has typed; None where they typed none.

    Raises:
        ConfigError: when it is no size.
    Example:
        >>> size_of("3×224×224"), size_of(" ")
        ((3, 224, 224), None)
    """
    text = word.strip().lower().replace("×", "x")
    if not text:
        return None
    parts = [part.strip() for part in text.split("x")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"the input must be CxHxW such as 3x224x224, received {word.strip()!r}")
    return tuple(int(part) for part in parts)


def seen_by(sketch: Sketch, layer: str, unit: Sequence[int] | None = None) -> Seen:
    """What a unit of a layer sees of the picture; by default its middle unit."""
    row = sketch.graph.by_name[layer]
    space = row.output[1:] if len(row.output) == 3 else ()
    place = tuple(unit) if unit is not None and len(unit) == len(space) else ()
    if not place:
        place = tuple(side // 2 for side in space)
    place = tuple(min(max(0, i), n - 1) for i, n in zip(place, space, strict=True))
    index = (None,) * (len(sketch.graph.trace.shape(row.value)) - len(place)) + place
    field = sketch.fields.at(row.value, index)
    return Seen(
        unit=place,
        rows=field.rows if field else None,
        cols=field.cols if field else None,
        textbook=sketch.fields.textbook(row.value),
    )


def unit_over(
    output: Sequence[int], size: tuple[int, int], x: float, y: float
) -> tuple[int, int] | None:
    """The unit of a layer's map that stands over a place of the picture.

    Example:
        >>> unit_over((8, 14, 14), (28, 28), 27.9, 0.0)
        (0, 13)
    """
    if len(output) != 3:
        return None
    height, width = size
    row, column = int(y * output[1] / height), int(x * output[2] / width)
    return min(max(0, row), output[1] - 1), min(max(0, column), output[2] - 1)
