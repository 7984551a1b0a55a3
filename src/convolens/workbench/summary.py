"""`summary`: every number of a network before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convolens.analysis.summarize import Graph, Optimizer, WeightlessError
from convolens.analysis.summarize import summarize as analyse
from convolens.errors import ConfigError
from convolens.workbench.design import Design, Sizes, design_of


def summarize(
    model: str | Path | nn.Module,
    input_size: Sizes | None = None,
    *,
    batch: int = 1,
    inputs: Any = None,
    dtypes: Sequence[torch.dtype] | None = None,
    optimizer: Optimizer = "sgd",
    name: str | None = None,
) -> Graph:
    """Every number of a network: volumes, parameters, MACs, FLOPs and memory.

    No weight is allocated and nothing is computed, unless values decide what the network does. A
    network that is given is left exactly as it was found.

    Args:
        model: a network; or a name of ours, "torchvision:NAME", "timm:NAME", "FILE.py:NAME", a
            Run's folder or a network in notation. Options of a builder may follow its name, as in
            "googlenet(naive=True)".
        input_size: shape of an input without the batch, (3, 224, 224), or one shape for each of
            several inputs; by default what the named network is made for.
        batch: N, pictures in the pass.
        inputs: instead of `input_size`, what the network is called with: a tensor, a tuple of
            positional arguments, or a dict of named ones.
        dtypes: type of each input where it is not the network's own type of floating point.
        optimizer: "sgd", "momentum" or "adam", for the memory of training.
        name: what to call the network; by default its word, or the name of its class.
    Returns: the numbers, by layer and in total.
    Raises:
        ConfigError: when the word is unknown, or an argument out of range.
        ShapeError: when the network cannot read the input.
    Example:
        >>> summarize("lenet5").totals.params
        61706
    """
    return graph_of(
        design_of(model, input_size),
        batch=batch,
        inputs=inputs,
        dtypes=dtypes,
        optimizer=optimizer,
        name=name,
    )


def graph_of(
    design: Design,
    *,
    batch: int = 1,
    inputs: Any = None,
    dtypes: Sequence[torch.dtype] | None = None,
    optimizer: Optimizer = "sgd",
    name: str | None = None,
) -> Graph:
    """Does what `summarize` does, for a network that is found already."""
    label = name or design.name
    size = None if inputs is not None else design.input_size
    if size is None and inputs is None:
        raise ConfigError(
            f"{label} does not say what it reads",
            "Say it: --input 3x224x224, or input_size=(3, 224, 224).",
        )

    def numbers(net: nn.Module) -> Graph:
        return analyse(
            net, size, batch=batch, inputs=inputs, dtypes=dtypes, optimizer=optimizer, name=label
        )

    try:
        return numbers(design.net)
    except WeightlessError:
        if design.rebuild is None:
            raise
        return numbers(design.rebuild())
