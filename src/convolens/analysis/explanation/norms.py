"""Normalisations by numbers that come from the picture itself, and softmax."""

from typing import Any

import numpy as np
from torch import nn

from convolens.analysis.explanation.head import OUTSIDE, Head, Last, head_of, number
from convolens.analysis.explanation.passage import Passage
from convolens.analysis.explanation.sums import numbers_of
from convolens.analysis.field.arguments import Arguments
from convolens.analysis.graph import Call

Index = tuple[int, ...]


def softmax(passage: Passage, given: Arguments, index: Index) -> Head:
    """e^(x_i − max) / Σ_j e^(x_j − max), or its logarithm."""
    value, axis = given.value(0), given.axis(1)
    chosen: Any = (*index[:axis], slice(None), *index[axis + 1 :])
    elements = numbers_of(passage, value)[chosen]
    read = passage.array(value)[chosen]
    greatest = float(read.max())
    products = np.exp(read - greatest)
    total, own = float(products.sum()), float(read[index[axis]])
    top, bottom = f"exp({own:.6g} - {number(greatest)})", number(total)
    share = float(products[index[axis]]) / total
    if "log" in given.name:
        result = own - greatest - float(np.log(total))
        last = Last(name="log softmax", formula=f"log({top} / {bottom})", result=result)
    else:
        last = Last(name="softmax", formula=f"{top} / {bottom}", result=share)
    return head_of(
        passage,
        value,
        elements,
        np.ones(len(elements)),
        operation=f"softmax over {len(elements)}",
        formula="Σ exp(value - the greatest value)",
        products=products,
        finish=(last,),
    )


def layer_norm(passage: Passage, given: Arguments, index: Index) -> Head:
    """(x − mean) / √(variance + ε) · γ + β, over the last axes."""
    rank = len(index) - len(given.get(1))
    chosen = (*index[:rank], ...)
    at = index[rank:]
    return _normalised(passage, given, index, chosen, (2, at), (3, at), given.get(4), "layer norm")


def group_norm(passage: Passage, given: Arguments, index: Index) -> Head:
    """(x − mean) / √(variance + ε) · γ + β, over the channels of a group and all positions."""
    channels, groups, epsilon = given.get(4), given.get(6), given.get(7)
    per_group = channels // groups
    first = index[1] // per_group * per_group
    chosen = (index[0], slice(first, first + per_group))
    at = (index[1],)
    return _normalised(passage, given, index, chosen, (1, at), (2, at), epsilon, "group norm")


def picture_norm(passage: Passage, given: Arguments, index: Index) -> Head | None:
    """Batch or instance norm by the picture's own statistics: over all positions of a channel."""
    if given.get(5) is not True:
        return None
    chosen = (slice(None), index[1])
    at = (index[1],)
    name = "norm of a channel"
    return _normalised(passage, given, index, chosen, (1, at), (2, at), given.get(7), name)


def _normalised(
    passage: Passage,
    given: Arguments,
    index: Index,
    chosen: Any,
    factor: tuple[int, Index],
    shift: tuple[int, Index],
    epsilon: float,
    name: str,
) -> Head:
    """Mean as a sum of terms; then variance, normalisation, factor and shift as steps."""
    value = given.value(0)
    elements = numbers_of(passage, value)[chosen].reshape(-1)
    read = passage.array(value).reshape(-1)[elements]
    mean, variance = float(read.mean()), float(read.var())
    own = float(passage.array(value)[index])
    result = (own - mean) / np.sqrt(variance + epsilon)
    steps = [
        Last(name="variance", formula=f"Σ (value - mean)² / {len(read)}", result=variance),
        Last(
            name=name,
            formula=f"({own:.6g} - {number(mean)}) / √({variance:.6g} + {epsilon:.6g})",
            result=float(result),
        ),
    ]
    for at, position, sign, words in ((*factor, "×", "factor"), (*shift, "+", "shift")):
        if given.value(at) < 0:
            continue
        held = float(passage.array(given.value(at))[position])
        formula = f"{number(float(result))} {sign} {number(held)}"
        result = result * held if sign == "×" else result + held
        steps.append(Last(name=words, formula=formula, result=float(result)))
    return head_of(
        passage,
        value,
        elements,
        np.full(len(read), 1.0 / len(read)),
        operation=f"{name} over {len(read)} values",
        formula="mean: Σ value / n",
        finish=tuple(steps),
    )


def response_norm(passage: Passage, call: Call, module: nn.Module, index: Index) -> Head:
    """a_c / (k + α Σ a²)^β over neighbouring channels; PyTorch's own divides α by their number."""
    value = call.inputs[0]
    size, k = int(module.size), float(module.k)  # type: ignore[arg-type]
    alpha, beta = float(module.alpha), float(module.beta)  # type: ignore[arg-type]
    if isinstance(module, nn.LocalResponseNorm):
        alpha = alpha / size
    first = index[1] - size // 2
    channels = np.arange(first, first + size)
    inside = (channels >= 0) & (channels < passage.shape(value)[1])
    column: Any = (index[0], slice(None), *index[2:])
    line = numbers_of(passage, value)[column]
    elements = line[channels[inside]]
    read = passage.array(value).reshape(-1)[elements]
    own = float(passage.array(value)[index])
    scale = k + alpha * float((read**2).sum())
    result = own / scale**beta
    return head_of(
        passage,
        value,
        elements[elements != OUTSIDE],
        np.full(len(elements), alpha),
        operation=f"local response norm over {len(elements)} channels",
        formula="Σ weight · value² + k",
        products=alpha * read**2,
        bias=k,
        finish=(
            Last(
                name="local response norm",
                formula=f"{number(own)} / {number(scale)}^{beta:.6g}",
                result=result,
            ),
        ),
    )
