"""`explain`: the arithmetic behind one unit or one detection of a Run's network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from torch import Tensor, nn

from convolens.analysis.explanation import Explanation, explain_unit
from convolens.data.picture import read_as
from convolens.errors import ConfigError, RunError
from convolens.tasks.detect import Detect
from convolens.train.files import write_bytes, write_text
from convolens.train.plan import Plan
from convolens.visual.detection import detection_figure, detection_svg
from convolens.visual.explanation import explanation_figure, explanation_svg
from convolens.visual.figure import png_bytes
from convolens.workbench.detection_words import drawing_of
from convolens.workbench.explain_detection import (
    DetectionExplanation,
    explain_detection,
    picture_of,
)
from convolens.workbench.run import Run

PLAIN = Plan(device="cpu", precision="float32", channels_last=False)


@overload
def explain(
    run: str | Path | Run,
    image: str | Path,
    *,
    layer: str,
    unit: Sequence[int],
    depth: int = 1,
) -> Explanation: ...


@overload
def explain(
    run: str | Path | Run, image: str | Path, *, detection: int
) -> DetectionExplanation: ...


def explain(
    run: str | Path | Run,
    image: str | Path,
    *,
    layer: str | None = None,
    unit: Sequence[int] | None = None,
    detection: int | None = None,
    depth: int = 1,
) -> Explanation | DetectionExplanation:
    """The arithmetic behind one unit, or behind one detection: sums, what follows, and the result.

    The network runs on the CPU in float32 with PyTorch's own operations, whatever the Run's plan.

    Args:
        run: a Run or its folder.
        image: the picture's file.
        layer: a name of the table of layers, such as "conv1".
        unit: (C, Y, X), or (C,) where the layer gives a vector.
        detection: of a Run that detects, in the place of layer and unit: which of its detections
            is explained, 0 being the surest.
        depth: 1 explains the unit; each further one its strongest terms too.
    Raises:
        ConfigError: when there is no such layer, unit or detection, or not one of the two is asked.
        DataError: when the picture cannot be read.
        RunError: when the Run is damaged, or a detection is asked of one that detects nothing.
    """
    opened = Run.open(run)
    if detection is not None:
        if layer is not None or unit is not None:
            raise ConfigError("explain takes a detection, or a layer and a unit, not both")
        return _explained_detection(opened, image, detection)
    if layer is None or unit is None:
        raise ConfigError("explain needs a layer and a unit, or the number of a detection")
    network, x = network_and_input(opened, image)
    return explain_unit(network, x, layer, unit, depth=depth)


def _explained_detection(run: Run, image: str | Path, detection: int) -> DetectionExplanation:
    task = run.task
    if not isinstance(task, Detect):
        raise RunError(
            f"{run.path} was trained to {run.config.task} and has no detections",
            "Explain one of its units: layer and unit.",
        )
    pixels, place = picture_of(image, run.format)
    return explain_detection(_plain(run), task, pixels, detection, str(image), place)


def network_and_input(run: Run, image: str | Path) -> tuple[nn.Module, Tensor]:
    """A Run's network without the plan it was trained by, and a picture as it reads it.

    Shape: -> x (1, C, H, W)
    """
    pixels, _ = read_as(image, run.format)
    x = run.task.inputs(pixels[None])
    return _plain(run), x


def _plain(run: Run) -> nn.Module:
    # A plan's kernels compute several layers at once, and half precision rounds.
    return replace(run, facts={**run.facts, "plan": PLAIN.to_json()}).network("cpu")


def draw_explanation(
    explanation: Explanation | DetectionExplanation,
    run: str | Path | Run,
    image: str | Path,
    out: str | Path,
) -> None:
    """Writes an explanation as a picture.

    Args:
        out: a file that ends in .png or .svg.
    Raises:
        ConfigError: when it ends in something else.
    """
    file = Path(out)
    check_drawing(file)
    pixels = read_as(image, Run.open(run).format)[0].numpy()
    if isinstance(explanation, DetectionExplanation):
        marks, sums, lines, title = drawing_of(explanation)
        if file.suffix.lower() == ".svg":
            write_text(file, detection_svg(pixels, marks, sums, lines, title))
        else:
            write_bytes(file, png_bytes(detection_figure(pixels, marks, sums, lines, title)))
    elif file.suffix.lower() == ".svg":
        write_text(file, explanation_svg(explanation, pixels))
    else:
        write_bytes(file, png_bytes(explanation_figure(explanation, pixels)))


def check_drawing(file: Path) -> None:
    """Raises ConfigError when a file's name does not say PNG or SVG."""
    if file.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"--out must end in .png or .svg, received {file}")
