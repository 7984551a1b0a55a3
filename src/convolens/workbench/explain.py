"""`explain`: the arithmetic behind one unit of a Run's network, for one picture."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from convolens.analysis.explanation import Explanation, explain_unit
from convolens.data.picture import read_as
from convolens.errors import ConfigError
from convolens.train.files import write_bytes, write_text
from convolens.train.plan import Plan
from convolens.visual.explanation import explanation_figure, explanation_svg
from convolens.visual.figure import png_bytes
from convolens.workbench.run import Run

PLAIN = Plan(device="cpu", precision="float32", channels_last=False)


def explain(
    run: str | Path | Run,
    image: str | Path,
    *,
    layer: str,
    unit: Sequence[int],
    depth: int = 1,
) -> Explanation:
    """The arithmetic behind one unit: what it sums, what follows, and the network's own value.

    The network runs on the CPU in float32 with PyTorch's own operations, whatever the Run's plan.

    Args:
        run: a Run or its folder.
        image: the picture's file.
        layer: a name of the table of layers, such as "conv1".
        unit: (C, Y, X), or (C,) where the layer gives a vector.
        depth: 1 explains the unit; each further one its strongest terms too.
    Raises:
        ConfigError: when there is no such layer or unit.
        DataError: when the picture cannot be read.
        RunError: when the Run is damaged.
    """
    opened = Run.open(run)
    network, x = network_and_input(opened, image)
    return explain_unit(network, x, layer, unit, depth=depth)


def network_and_input(run: Run, image: str | Path) -> tuple[nn.Module, Tensor]:
    """A Run's network without the plan it was trained by, and a picture as it reads it.

    Shape: -> x (1, C, H, W)
    """
    # A plan's kernels compute several layers at once, and half precision rounds.
    plain = replace(run, facts={**run.facts, "plan": PLAIN.to_json()})
    pixels, _ = read_as(image, run.format)
    x = run.task.inputs(pixels[None])
    return plain.network("cpu"), x


def draw_explanation(
    explanation: Explanation, run: str | Path | Run, image: str | Path, out: str | Path
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
    if file.suffix.lower() == ".svg":
        write_text(file, explanation_svg(explanation, pixels))
    else:
        write_bytes(file, png_bytes(explanation_figure(explanation, pixels)))


def check_drawing(file: Path) -> None:
    """Raises ConfigError when a file's name does not say PNG or SVG."""
    if file.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"--out must end in .png or .svg, received {file}")
