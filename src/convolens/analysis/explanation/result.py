"""What an explanation holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One contribution to a unit.

    Args:
        weight: what the value is multiplied by.
        value: of the layer's input; −∞ for the padding of max-pooling.
        product: what is summed: weight · value, or what the explanation's formula says.
        place: position in the operation's input, such as (c, y, x), without the batch; in the
            padding it lies outside of the input.
        padded: whether the place is padding.
        source: the layer that computed the value; empty for zeros of padding.
        unit: the place of the value in the output of that layer.
    """

    weight: float
    value: float
    product: float
    place: tuple[int, ...]
    padded: bool
    source: str
    unit: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens to the sum, or to the result of the step before.

    Args:
        name: of the operation, such as "batch norm".
        layer: where it happens.
        formula: with its numbers.
        result: computed in float64.
        network: what the network computed here; None in the middle of one of its operations.
    """

    name: str
    layer: str
    formula: str
    result: float
    network: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An input of an operation that has no explanation.

    Args:
        name: the layer or parameter.
        shape: without the batch where there is one.
        value: at the unit's own place, where the shapes agree.
        least, greatest: of all its values.
    """

    name: str
    shape: tuple[int, ...]
    value: float | None
    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The arithmetic behind one unit of one network on one image.

    computed = steps(Σ products + bias), in float64, from the inputs that the network's own pass
    had; `network` is what that pass made of them.

    Args:
        layer: the layer asked about.
        unit: position in its output, without the batch.
        operation: what sums the terms: "convolution", "max pool", …; an operation of PyTorch's
            where there is no explanation.
        performed_by: the layer of that operation: the one asked about or, where that is an
            activation or a normalisation with fixed numbers, the one that it is applied to.
        formula: of the operation.
        explained: False where there is no explanation for the operation; `inputs` then says
            what it was given.
        terms: what is summed, in the order of the places.
        total: Σ products.
        bias: added to the total; None where there is none.
        steps: what follows, up to the layer asked about.
        computed: the result in float64.
        network: the network's own value.
        difference: |computed − network|.
        following: what the network does with this unit next, as long as that is to it alone:
            normalisation and activation.
        rows, cols: first and last row and column of the image that the unit depends on, both
            included; None where it depends on none.
        inputs: of an operation without an explanation.
        children: explanations of the strongest terms, the strongest first, one layer down.
    """

    layer: str
    unit: tuple[int, ...]
    operation: str
    performed_by: str
    formula: str
    explained: bool
    terms: tuple[Term, ...]
    total: float
    bias: float | None
    steps: tuple[Step, ...]
    computed: float
    network: float
    difference: float
    following: tuple[Step, ...] = ()
    rows: tuple[int, int] | None = None
    cols: tuple[int, int] | None = None
    inputs: tuple[Given, ...] = ()
    children: "tuple[Explanation, ...]" = ()

    @property
    def tolerance(self) -> float:
        """1e-5 · max(1, |network|, Σ |products|): how far float32 may be from float64 here."""
        summed = sum(abs(term.product) for term in self.terms)
        return 1e-5 * max(1.0, abs(self.network), summed)

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance or self.computed == self.network
