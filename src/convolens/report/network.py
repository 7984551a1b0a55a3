"""The network on paper: drawing, totals, layers."""

from convolens.analysis.summarize import Graph
from convolens.analysis.table.lines import Lines, lines_of
from convolens.report.parts import Drawing, Facts, Heading, Part, Row, Section, Table, Text, Tone
from convolens.visual.network import draw_network
from convolens.visual.volumes import volumes_of

_WIDTH_PX = 940.0


def network_section(graph: Graph) -> Section:
    """The drawing of the network, its totals, and the table of its layers.

    Args:
        graph: what `summarize` gave.
    """
    lines = lines_of(graph)
    drawing = Drawing(
        svg=draw_network(volumes_of(graph), title=graph.model, width_px=_WIDTH_PX),
        caption="Each box is a volume: as tall and deep as its height and width, as thick as its "
        "number of channels. Look for where the pictures become small and the channels many.",
    )
    parts: list[Part] = [drawing, Facts(items=lines.totals), Heading(text="Layers"), _table(lines)]
    for remark in lines.remarks:
        tone: Tone = "warning" if remark.startswith("warning") else "soft"
        parts.append(Text(text=remark, tone=tone))
    return Section(title="The network", parts=tuple(parts))


def _table(lines: Lines) -> Table:
    return Table(
        about=f"Layers of {lines.title}",
        columns=tuple((column.title, column.align) for column in lines.columns),
        rows=tuple(
            Row(cells=line.cells, depth=line.depth, is_heading=line.role == "fold")
            for line in lines.lines
        ),
    )
