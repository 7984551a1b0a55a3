"""Walks from an element back to what sums it, and forth again with numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from convolens.analysis.explanation import norms, sums, windows
from convolens.analysis.explanation.head import OUTSIDE, Head, Integers, head_of
from convolens.analysis.explanation.links import LINKS, Link, link_of
from convolens.analysis.explanation.passage import OVERWRITE, Passage
from convolens.analysis.explanation.places import Origins, moves, name_of, origins_of
from convolens.analysis.explanation.result import Explanation, Given, Step, Term
from convolens.analysis.field import Fields
from convolens.analysis.field.arguments import Arguments
from convolens.analysis.field.names import SOFTMAXES
from convolens.analysis.graph import Operation

MOST_CHILDREN = 3
Rule = Callable[[Passage, Arguments, tuple[int, ...]], Head | None]
HEADS: Mapping[str, Rule] = {
    "convolution": windows.convolution,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices"),
        windows.max_pool,
    ),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), windows.average_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), windows.adaptive_max_pool),
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), windows.adaptive_average_pool
    ),
    **dict.fromkeys(sums.PRODUCTS, sums.matrix_product),
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div"), sums.combination),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min"), sums.reduction),
    **dict.fromkeys(("maximum", "minimum"), sums.pair),
    **dict.fromkeys(
        (
            *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"),
            *("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
        ),
        sums.interpolation,
    ),
    "glu": sums.gated,
    **dict.fromkeys(SOFTMAXES, norms.softmax),
    "native_layer_norm": norms.layer_norm,
    "native_group_norm": norms.group_norm,
    "native_batch_norm": norms.picture_norm,
}

# What a person calls an operation that moves elements, by a part of its name.
MOVED = {
    "cat": "concatenation",
    "stack": "concatenation",
    "view": "reshaping",
    "reshape": "reshaping",
    "flatten": "reshaping",
    "nearest": "nearest interpolation",
    "pad": "padding",
    "overwrite": "copy",
    "shuffle": "shuffle",
    "copy": "copy",
}


@dataclass(frozen=True, slots=True)
class _Done:
    """A link of the way back, and where it happened."""

    link: Link
    operation: Operation
    value: int
    element: int


class Walker:
    """Walks from elements to what they were computed of.

    Args:
        passage: the pass.
        fields: of the input's picture.
    """

    def __init__(self, passage: Passage, fields: Fields) -> None:
        self.passage, self.fields = passage, fields
        self._origins: dict[int, Origins] = {}

    def wanted(self, value: int, depth: int) -> frozenset[int]:
        """The operations whose tensors an explanation may look at."""
        found: dict[int, int] = {}
        waiting = [(value, depth)]
        while waiting:
            at, left = waiting.pop()
            operation = self.passage.producers.get(at)
            if operation is None or found.get(operation.index, -1) >= left:
                continue
            found[operation.index] = left
            if at in self.passage.response_norms:
                call = self.passage.response_norms[at][0]
                found.update(dict.fromkeys(call.operations, left))
                waiting += [(v, left - 1) for v in call.inputs if left > 1]
                continue
            passes = moves(operation) or self._is_link(operation)
            if passes or left > 1:
                waiting += [(v, left - (not passes)) for v in operation.inputs]
        later = [operation.index for operation in self._following(value)]
        # What was written piece by piece is seen whole by the operation that reads it first.
        pieces = [self.passage.trace.operations[index] for index in found]
        written = [o.outputs[0] for o in pieces if o.name == OVERWRITE]
        seen = [self.passage.readers[v][0].index for v in written if v in self.passage.readers]
        return frozenset([*found, *later, *seen])

    def _is_link(self, operation: Operation) -> bool:
        """Whether an operation makes one element of one that depends on the picture."""
        given = Arguments(operation, self.passage.trace)
        varying = [v for v in operation.inputs if v in self.passage.varying]
        return given.name.strip("_") in LINKS and len(varying) == 1

    def _following(self, value: int) -> list[Operation]:
        """The operations that go on with a value's elements, one by one, and alone."""
        found: list[Operation] = []
        while True:
            readers = self.passage.readers.get(value, [])
            if len(readers) != 1 or readers[0].inputs[0] != value:
                return found
            operation = readers[0]
            same = operation.outputs and self.passage.shape(
                operation.outputs[0]
            ) == self.passage.shape(value)
            if not same or not self._is_link(operation):
                return found
            found.append(operation)
            value = operation.outputs[0]

    def origins(self, value: int) -> Origins:
        if value not in self._origins:
            self._origins[value] = origins_of(self.passage, value)
        return self._origins[value]

    def explain(self, value: int, element: int, depth: int) -> Explanation:
        """The explanation of one element, and of its strongest terms where the depth is more."""
        passage = self.passage
        head, at, done = self._back(value, element)
        products = head.products
        running = float(products.sum()) + (head.bias or 0.0)
        steps = []
        operation = passage.producers.get(at[0])
        layer = passage.name(at[0])
        for last in head.finish:
            running = last.result
            steps.append(Step(name=last.name, layer=layer, formula=last.formula, result=running))
        if steps:
            steps[-1] = replace(steps[-1], network=self._network(at[0], at[1]))
        for each in reversed(done):
            step, running = self._step(each, running)
            steps.append(step)
        network = self._network(value, element)
        rows, cols = self._field(value, element)
        values, elements = self._sources(head)
        below = self._strongest(head, values, elements) if depth > 1 else []
        inputs = () if head.explained or operation is None else self._inputs(operation, at[1])
        return Explanation(
            layer=passage.name(value),
            unit=passage.unit(value, element),
            operation=head.operation,
            performed_by=layer,
            formula=head.formula,
            explained=head.explained,
            terms=self._terms(head, values, elements),
            total=float(products.sum()),
            bias=head.bias,
            steps=tuple(steps),
            computed=running,
            network=network,
            difference=abs(running - network),
            following=self._what_follows(value, element, running),
            rows=rows,
            cols=cols,
            inputs=inputs,
            children=tuple([self.explain(s[0], s[1], depth - 1) for s in below]),
        )

    def _back(self, value: int, element: int) -> tuple[Head, tuple[int, int], list[_Done]]:
        """What sums an element, where that happens, and the links from there, the last first."""
        passage, done = self.passage, list[_Done]()
        while True:
            operation = passage.producers.get(value)
            if operation is None:
                return self._leaf(value, element), (value, element), done
            index = tuple(int(i) for i in np.unravel_index(element, passage.shape(value) or (1,)))
            index = index if passage.shape(value) else ()
            given = Arguments(operation, passage.trace)
            if value in passage.response_norms:
                call, module = passage.response_norms[value]
                head = norms.response_norm(passage, call, module, index)
                return head, (value, element), done
            if moves(operation):
                origin = self.origins(value).of_one(element)
                before = passage.producers.get(origin[0]) if origin else None
                if origin and before and self._stays(before, operation, done):
                    value, element = origin
                    continue
                return self._moved(value, element, operation), (value, element), done
            if value == operation.outputs[0]:
                if link := link_of(passage, given, index):
                    done.append(_Done(link, operation, value, element))
                    value, element = link.value, link.element
                    continue
                rule = HEADS.get(given.name)
                if rule and (head_or_none := rule(passage, given, index)) is not None:
                    return head_or_none, (value, element), done
            if done:
                return self._leaf(value, element), (value, element), done
            return self._unknown(value, element, operation), (value, element), done

    def _stays(self, before: Operation, mover: Operation, done: list[_Done]) -> bool:
        """Whether a moved element is followed on: within one layer, or just below the last link."""
        if self.passage.is_one_layer(before, mover):
            return True
        return bool(done) and self.passage.is_one_layer(mover, done[-1].operation)

    def _leaf(self, value: int, element: int) -> Head:
        words = self.passage.trace.values[value].kind
        return head_of(
            self.passage,
            value,
            np.array([element]),
            np.ones(1),
            operation=words if value not in self.passage.producers else "value",
            formula="value",
        )

    def _moved(self, value: int, element: int, operation: Operation) -> Head:
        """A copy of one element of another layer: concatenation, flattening, padding, …"""
        origin = self.origins(value).of_one(element)
        name = name_of(operation).strip("_")
        name = next((words for part, words in MOVED.items() if part in name), name)
        head = self._leaf(value, element)
        if origin is None:
            return replace(head, operation=name, formula="a constant", padded=np.array([True]))
        where = f"({', '.join(map(str, self.passage.unit(*origin)))})"
        return replace(
            head,
            operation=name,
            formula=f"a copy of unit {where} of {self.passage.name(origin[0])}",
            padded=np.array([bool(self.origins(value).padded.view(-1)[element])]),
        )

    def _unknown(self, value: int, element: int, operation: Operation) -> Head:
        name = operation.name
        head = self._leaf(value, element)
        formula = f"there is no explanation for {name}"
        return replace(head, operation=name, formula=formula, explained=False)

    def _inputs(self, operation: Operation, element: int) -> tuple[Given, ...]:
        passage, found = self.passage, []
        shape = passage.shape(operation.outputs[0]) if operation.outputs else ()
        for value in operation.inputs:
            array = passage.array(value)
            same = array.shape == shape and array.size > 0
            found.append(
                Given(
                    name=passage.name(value),
                    shape=array.shape[1:] if value in passage.varying else array.shape,
                    value=float(array.reshape(-1)[element]) if same else None,
                    least=float(array.min()) if array.size else 0.0,
                    greatest=float(array.max()) if array.size else 0.0,
                )
            )
        return tuple(found)

    def _step(self, done: _Done, running: float) -> tuple[Step, float]:
        formula, result = done.link.act(running)
        step = Step(
            name=done.link.name,
            layer=self.passage.name(done.value),
            formula=formula,
            result=result,
            network=self._network(done.value, done.element),
        )
        return step, result

    def _network(self, value: int, element: int) -> float:
        return float(self.passage.array(value).reshape(-1)[element])

    def _what_follows(self, value: int, element: int, running: float) -> tuple[Step, ...]:
        steps = []
        for operation in self._following(value):
            shape = self.passage.shape(operation.outputs[0])
            index = tuple(int(i) for i in np.unravel_index(element, shape))
            link = link_of(self.passage, Arguments(operation, self.passage.trace), index)
            if link is None:
                break
            done = _Done(link, operation, operation.outputs[0], element)
            step, running = self._step(done, running)
            steps.append(step)
        return tuple(steps)

    def _sources(self, head: Head) -> tuple[Integers, Integers]:
        """Where each term was computed: values and elements, OUTSIDE for padding."""
        values = np.full(len(head.inputs), OUTSIDE, dtype=np.int64)
        elements = values.copy()
        for value in np.unique(head.inputs).tolist():
            own = (head.inputs == value) & (head.elements != OUTSIDE)
            values[own], elements[own] = self.origins(value).of(head.elements[own])
        return values, elements

    def _strongest(self, head: Head, values: Integers, elements: Integers) -> list[tuple[int, int]]:
        """The few terms of greatest weight in the sum that an operation has computed."""
        found: dict[tuple[int, int], None] = {}
        for n in np.argsort(-np.abs(head.products), kind="stable").tolist():
            if int(values[n]) in self.passage.producers and head.products[n] != 0:
                found[int(values[n]), int(elements[n])] = None
            if len(found) == MOST_CHILDREN:
                break
        return list(found)

    def _terms(self, head: Head, values: Integers, elements: Integers) -> tuple[Term, ...]:
        passage = self.passage
        names = {OUTSIDE: ""}
        units: list[tuple[int, ...]] = [()] * len(values)
        for value in np.unique(values[values != OUTSIDE]).tolist():
            names[value] = passage.name(value)
            own = np.flatnonzero(values == value)
            positions = passage.units(value, elements[own]).tolist()
            for n, position in zip(own.tolist(), positions, strict=True):
                units[n] = tuple(position)
        padded = head.padded.copy()
        for value in np.unique(head.inputs).tolist():
            own = (head.inputs == value) & (head.elements != OUTSIDE)
            padded[own] |= self.origins(value).padded.view(-1).numpy()[head.elements[own]]
        return tuple(
            [
                Term(
                    weight=weight,
                    value=value,
                    product=product,
                    place=tuple(place),
                    padded=is_padding,
                    source=names[source],
                    unit=unit,
                )
                for weight, value, product, place, is_padding, source, unit in zip(
                    head.weights.tolist(),
                    head.values.tolist(),
                    head.products.tolist(),
                    head.places.tolist(),
                    padded.tolist(),
                    values.tolist(),
                    units,
                    strict=True,
                )
            ]
        )

    def _field(
        self, value: int, element: int
    ) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Rows and columns of the image that an element depends on."""
        shape = self.passage.shape(value)
        index = [int(i) for i in np.unravel_index(element, shape)] if shape else []
        field = self.fields.at(value, index)
        return (None, None) if field is None else (field.rows, field.cols)
