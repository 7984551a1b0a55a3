"""What must be said beside a Graph's numbers: warnings first, then notes."""

from convolens.analysis.field import Unread, unread
from convolens.analysis.summarize import Graph
from convolens.analysis.table.numbers import grouped, volume

MOST_NAMES = 5


def remarks_of(graph: Graph) -> tuple[str, ...]:
    """Warnings and notes, a sentence each, with the word before it."""
    warnings = [f"warning: {text}" for text in (*_uncounted(graph), *warnings_of(graph))]
    return (*warnings, *[f"note: {note}" for note in graph.notes])


def warnings_of(graph: Graph) -> tuple[str, ...]:
    """Parameters and pixels that the pass does not read."""
    found = []
    if graph.unused:
        named = ", ".join(graph.unused[:MOST_NAMES])
        more = len(graph.unused) - MOST_NAMES
        found.append(f"the pass does not read {named}" + (f" and {more} more" if more > 0 else ""))
    return (*found, *[_unread(one) for one in unread(graph.trace)])


def _uncounted(graph: Graph) -> list[str]:
    found = []
    for unknown in graph.uncounted:
        place = f" in {unknown.place}" if unknown.place else ""
        times = f", {grouped(unknown.times)} times" if unknown.times > 1 else ""
        found.append(f"the FLOPs of {unknown.name}{place}{times} are not counted")
    return found


def _unread(one: Unread) -> str:
    axes = (("depth", "depths"), ("row", "rows"), ("column", "columns"))[-len(one.skipped) :]
    parts = [
        f"{skipped} {plural if skipped > 1 else single}"
        for skipped, (single, plural) in zip(one.skipped, axes, strict=True)
        if skipped
    ]
    place = one.place or "the network"
    pixels = "pixel" if one.pixels == 1 else "pixels"
    return (
        f"no window of {place} reads {' and '.join(parts)} of its {volume(one.size)}: "
        f"{grouped(one.pixels)} {pixels} of each channel"
    )
