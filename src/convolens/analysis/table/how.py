"""How each number of a layer comes about."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convolens.analysis.field import Textbook, textbook_of
from convolens.analysis.graph import Trace
from convolens.analysis.rows import Row
from convolens.analysis.summarize import Graph
from convolens.analysis.table.numbers import WHOLE, volume
from convolens.analysis.table.saved import saved_step
from convolens.analysis.table.window import (
    Step,
    Window,
    field_steps,
    plain_field_steps,
    size_steps,
    windows_of,
)
from convolens.analysis.table.work import flops_text, macs_text, params_text
from convolens.errors import ConfigError, near_matches


@dataclass(frozen=True, kw_only=True)
class How:
    """The arithmetic behind one row of the table.

    Args:
        name: of the row.
        kind: of the row.
        volumes: of what it reads, without the batch, and of its result.
        steps: a number each.
    """

    name: str
    kind: str
    volumes: tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]
    steps: tuple[Step, ...]


def how(graph: Graph, layer: str | None = None) -> tuple[How, ...]:
    """The arithmetic behind the numbers of each layer, from its operations' own arguments.

    Args:
        graph: what `summarize` gave.
        layer: the name of a row, or of a module with rows in it; all rows by default.
    Returns: output size, parameters, MACs, FLOPs, saved bytes and receptive field of each row, as
        far as it has them. Every expression comes to the number that stands beside it.
    Raises:
        ConfigError: when no row has this name.
    Example:
        >>> from torch import nn
        >>> from convolens.analysis.summarize import summarize
        >>> graph = summarize(nn.Sequential(nn.Conv2d(3, 96, 11, stride=4)), (3, 227, 227))
        >>> for step in how(graph)[0].steps[:3]:
        ...     print(step)
        height and width: (227 + 2·0 − 11)/4 + 1 = 55
        params: 11·11·3·96 + 96 = 34,944
        MACs: 11·11·3·96·55·55 = 105,415,200
    """
    inside = f"{layer}."
    wanted = {r.name for r in graph.rows if layer in (None, r.name) or r.name.startswith(inside)}
    if not wanted:
        raise ConfigError(
            f"{graph.model} has no layer named {layer!r}",
            near_matches(layer or "", [row.name for row in graph.rows]),
        )
    fields = textbook_of(graph.trace) if graph.trace.inputs else {}
    used: set[int] = set()
    found = []
    for row in graph.rows:
        first_used = _first_used(row, graph.trace, used)
        if row.name in wanted:
            found.append(_how(row, graph.trace, fields, first_used))
    return tuple(found)


def how_text(explained: Sequence[How]) -> str:
    """The arithmetic of layers as plain text, a number a line.

    Example:
        >>> step = Step(what="params", arithmetic="5·5·6 + 6", value="156")
        >>> print(how_text([How(name="c1", kind="Conv2d", volumes=(((1, 9, 9),), (6, 5, 5)),
        ...                     steps=(step,))]))
        c1  Conv2d  1×9×9 → 6×5×5
          params  5·5·6 + 6 = 156
    """
    blocks = []
    for one in explained:
        given = " and ".join(volume(shape) for shape in one.volumes[0])
        arrow = f"{given} → " if given else ""
        label = max((len(step.what) for step in one.steps), default=0)
        lines = [f"{one.name or WHOLE}  {one.kind}  {arrow}{volume(one.volumes[1])}"]
        for step in one.steps:
            equals = " = " if step.arithmetic else ""
            lines.append(f"  {step.what:<{label}}  {step.arithmetic}{equals}{step.value}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _first_used(row: Row, trace: Trace, used: set[int]) -> dict[int, int]:
    """The parameters that no row before this one read, with the groups of their convolution."""
    found: dict[int, int] = {}
    for operation in (trace.operations[index] for index in row.operations):
        is_convolution = operation.name == "aten.convolution"
        for value in operation.inputs:
            if trace.values[value].kind == "parameter" and value not in used:
                used.add(value)
                found[value] = int(operation.args[8]) if is_convolution else 1
    return found


def _how(
    row: Row, trace: Trace, fields: Mapping[int, Textbook], first_used: Mapping[int, int]
) -> How:
    operations = [trace.operations[index] for index in row.operations]
    results = {value for operation in operations for value in operation.outputs}
    given = [
        value
        for value in dict.fromkeys(v for operation in operations for v in operation.inputs)
        if trace.values[value].kind in ("input", "result") and value not in results
    ]
    volumes = (tuple(trace.shape(value)[1:] for value in given), row.output)
    moving = [operation for operation in operations if windows_of(operation, trace)]
    windows = windows_of(moving[0], trace) if len(moving) == 1 else []
    while len(windows) > 1 and windows[0].size == windows[0].kernel == 1:
        windows = windows[1:]  # PyTorch pools signals as pictures of one row
    steps = size_steps(windows, trace.shape(moving[0].outputs[0])) if windows else []
    groups = [params_text(value, trace, groups) for value, groups in first_used.items()]
    steps += _step("params", groups, row.params)
    steps += _step("MACs", [macs_text(o, trace) for o in operations], row.macs)
    steps += _step("FLOPs", [flops_text(o, trace) for o in operations], row.flops)
    saved = saved_step(row, trace)
    steps += [saved] if saved is not None else []
    steps += _fields(row, windows, given, fields)
    return How(name=row.name, kind=row.kind, volumes=volumes, steps=tuple(steps))


def _step(what: str, texts: Sequence[str], value: int) -> list[Step]:
    """A sum of expressions, equal ones once; nothing where there is nothing to count."""
    if not value:
        return []
    terms = Counter(text for text in texts if text)
    parts = [
        text if times == 1 else f"{times}·({text})" if " " in text else f"{times}·{text}"
        for text, times in terms.items()
    ]
    shown, number = " + ".join(parts), f"{value:,}"
    return [Step(what=what, arithmetic=shown if shown != number else "", value=number)]


def _fields(
    row: Row,
    windows: Sequence[Window],
    given: Sequence[int],
    fields: Mapping[int, Textbook],
) -> list[Step]:
    after = fields.get(row.value)
    if windows and len(given) == 1:
        return field_steps(windows, fields.get(given[0]), after)
    before = [fields[value] for value in given if value in fields]
    if after is None or len(before) < 2 or len(before) < len(given):
        return plain_field_steps(after)
    sizes = sorted({field.size[0] for field in before})
    is_square = all(len(set(field.size)) == 1 for field in (*before, after))
    if not is_square or len(sizes) < 2 or sizes[-1] != after.size[0]:
        return plain_field_steps(after)
    text = f"max({', '.join(map(str, sizes))})"
    return [Step(what="field", arithmetic=text, value=str(after.size[0]))]
