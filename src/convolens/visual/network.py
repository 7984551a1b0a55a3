"""A network drawn as volumes, in SVG: height and width follow H and W, thickness follows C."""

from collections.abc import Sequence
from html import escape
from string import ascii_lowercase

from convolens.errors import ShapeError
from convolens.visual.layout import (
    ARC_PX,
    GAP_PX,
    LANE_PX,
    LINE_PX,
    Arc,
    Box,
    Lane,
    Layout,
    Role,
    Row,
    Volume,
    lane_steps,
    lay_out,
    shape_text,
    step_width,
)

__all__ = ["Lane", "Role", "Volume", "draw_network"]

MARGIN_PX = 16.0
STYLE = """
.cl-net text { font: 11px "DejaVu Sans", system-ui, Roboto, sans-serif; fill: #222;
  text-anchor: middle; }
.cl-net .shape, .cl-net .tag { fill: #666; }
.cl-net .step text { font-size: 10px; }
.cl-net .box { stroke: #fff; stroke-width: .7; stroke-linejoin: round; }
.cl-net .side { filter: brightness(.82); }
.cl-net .top { filter: brightness(1.12); }
.cl-net .line { fill: none; stroke: #8a8f98; stroke-width: 1.2; }
.cl-net .head { fill: #8a8f98; }
.cl-net .step rect { fill: #eef1f5; stroke: #b8bec8; stroke-width: .8; }
.cl-net .input { fill: #9aa0a8; } .cl-net .conv { fill: #3f8fc5; }
.cl-net .pool { fill: #dd7a3b; } .cl-net .linear { fill: #2aa37e; }
.cl-net .block { fill: #6a78c9; } .cl-net .join { fill: #b58fc4; }
.cl-net .other { fill: #b3a55c; }
@media (prefers-color-scheme: dark) {
  .cl-net text { fill: #e6e6e6; } .cl-net .shape, .cl-net .tag { fill: #a3a7ad; }
  .cl-net .box { stroke: #17191c; }
  .cl-net .step rect { fill: #262b32; stroke: #4b525c; } }
"""


def draw_network(
    volumes: Sequence[Volume], *, title: str = "network", width_px: float = 1200.0
) -> str:
    """Draws volumes as boxes in perspective, from left to right and row by row.

    The front of a box is as tall as H and as thick as C, its side as deep as W, all by their
    square roots; a vector is a bar. Branches are lanes between two boxes; what is read again
    later is an arc above. The picture follows the system's light or dark colours.

    Args:
        volumes: in the order of execution, the inputs first; see `visual.volumes`.
        title: what the network is called, for people who cannot see the picture.
        width_px: volumes that do not fit into this width go on in the next row.
    Returns: an SVG document.
    Raises:
        ShapeError: when there is no volume.
    Example:
        >>> svg = draw_network([Volume(shape=(3, 8, 8)), Volume(shape=(16, 4, 4), label="conv")])
        >>> svg[:4], "16×4×4" in svg
        ('<svg', True)
    """
    if not volumes:
        raise ShapeError("a drawing needs one volume or more, received none")
    layout = lay_out(volumes, width=width_px, margin=MARGIN_PX)
    parts = [*_links(volumes, layout), *_arcs(layout)]
    for volume, box in zip(volumes, layout.boxes, strict=True):
        row = layout.rows[box.row]
        parts += [*_lanes(volume, box, row), *_box(volume, box, row), *_texts(box, row)]
    size = f'width="{layout.width:.0f}" height="{layout.height:.0f}"'
    view = f'viewBox="0 0 {layout.width:.0f} {layout.height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cl-net" {size} {view} role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _texts(box: Box, row: Row) -> list[str]:
    x = box.x + (box.thickness + box.slant) / 2
    top = row.axis - box.height / 2 - box.slant - 6
    texts = [
        _text(x, top - LINE_PX * (len(box.above) - 1 - number), line)
        for number, line in enumerate(box.above)
    ]
    return [*texts, _text(x, row.axis + box.height / 2 + LINE_PX, box.below, "shape")]


def _box(volume: Volume, box: Box, row: Row) -> list[str]:
    x, y = box.x, row.axis - box.height / 2
    right, bottom, s = x + box.thickness, y + box.height, box.slant
    about = f"<title>{escape(volume.label)}: {shape_text(volume.shape)}</title>"
    faces = [_polygon([(x, y), (right, y), (right, bottom), (x, bottom)], f"box {volume.role}")]
    if s:
        top = [(x, y), (x + s, y - s), (right + s, y - s), (right, y)]
        side = [(right, y), (right + s, y - s), (right + s, bottom - s), (right, bottom)]
        faces += [_polygon(top, f"box top {volume.role}")]
        faces += [_polygon(side, f"box side {volume.role}")]
    return [f"<g>{about}{''.join(faces)}</g>"]


def _links(volumes: Sequence[Volume], layout: Layout) -> list[str]:
    """Arrows from each volume to the next, where the next one reads it."""
    parts = []
    for place, volume in enumerate(volumes):
        if place == 0 or (volume.reads is not None and place - 1 not in volume.reads):
            continue
        before, box = layout.boxes[place - 1], layout.boxes[place]
        row = layout.rows[box.row]
        end = box.left + 2 if volume.lanes else box.x - 1
        if before.row == box.row:
            begin = before.x + before.thickness + before.slant / 2
        else:
            above = layout.rows[before.row].axis
            tail = before.x + before.thickness + before.slant / 2
            parts += _arrow(tail, before.right + GAP_PX - 6, above)
            begin = box.left - GAP_PX + 4
        parts += [_line(begin, end, row.axis)] if volume.lanes else _arrow(begin, end, row.axis)
    return parts


def _lanes(volume: Volume, box: Box, row: Row) -> list[str]:
    """The branches before a volume, one above the other, and the arrow into it."""
    if not volume.lanes:
        return []
    left, right = box.left + 2, box.left + box.lanes_width - 12
    parts = []
    for number, lane in enumerate(volume.lanes):
        y = row.axis + (number - (len(volume.lanes) - 1) / 2) * LANE_PX
        steps = lane_steps(lane)
        widths = [step_width(step) for step in steps]
        x = (left + right) / 2 - (sum(widths) + 10 * (len(widths) - 1)) / 2
        first, last = left + 15, right - 15
        parts.append(
            f'<path class="line" d="M{left:.1f} {row.axis:.1f}C{left + 9:.1f} {row.axis:.1f} '
            f"{left + 6:.1f} {y:.1f} {first:.1f} {y:.1f}H{last:.1f}C{right - 6:.1f} {y:.1f} "
            f'{right - 9:.1f} {row.axis:.1f} {right:.1f} {row.axis:.1f}"/>'
        )
        if volume.is_dense and steps:
            parts.append(
                f'<path class="line" stroke-dasharray="3 3" d="M{last:.1f} {y:.1f}'
                f'V{y + LANE_PX * 0.62:.1f}H{first:.1f}V{y:.1f}"/>'
            )
        for step, width in zip(steps, widths, strict=True):
            parts.append(
                f'<g class="step"><rect x="{x:.1f}" y="{y - 9:.1f}" width="{width:.1f}" '
                f'height="18" rx="4"/>{_text(x + width / 2, y + 3.5, step)}</g>'
            )
            x += width + 10
    return [*parts, *_arrow(right, box.x - 1, row.axis)]


def _arcs(layout: Layout) -> list[str]:
    """What is read again later: an arc in one row, a letter at both ends between two rows."""
    parts = []
    num_tags = 0
    for arc in layout.arcs:
        source, target = layout.boxes[arc.source], layout.boxes[arc.target]
        begin, end = source.right + GAP_PX / 2 - 4, target.left - GAP_PX / 2 + 2
        if source.row == target.row:
            row = layout.rows[source.row]
            y = _height(row, arc)
            parts.append(
                f'<path class="line" d="M{begin:.1f} {row.axis:.1f}V{y + 5:.1f}'
                f'q0 -5 5 -5H{end - 5:.1f}q5 0 5 5V{row.axis - 1:.1f}"/>'
            )
            parts.append(_head(end + 4, row.axis))
        else:
            tag = ascii_lowercase[num_tags % 26]
            num_tags += 1
            for x, row in ((begin, layout.rows[source.row]), (end, layout.rows[target.row])):
                y = _height(row, arc) + ARC_PX / 2
                parts.append(
                    f'<path class="line" d="M{x:.1f} {row.axis:.1f}V{y + 2:.1f}"/>'
                    + _text(x, y - 2, tag, "tag")
                )
    return parts


def _height(row: Row, arc: Arc) -> float:
    return row.arcs_bottom - (arc.level + 0.5) * ARC_PX


def _arrow(begin: float, end: float, y: float) -> list[str]:
    return [_line(begin, end - 4, y), _head(end, y)]


def _line(begin: float, end: float, y: float) -> str:
    return f'<path class="line" d="M{begin:.1f} {y:.1f}H{end:.1f}"/>'


def _head(x: float, y: float) -> str:
    return f'<path class="head" d="M{x:.1f} {y:.1f}l-6 -3.2v6.4z"/>'


def _polygon(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polygon class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{name}>{escape(text)}</text>'
