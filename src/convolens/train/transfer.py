"""Beginning with weights that another training has left, as far as they fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convolens.errors import RunError
from convolens.train.checkpoint import load_tensors

SHOWN = 4
TORCH_SUFFIXES = (".pt", ".pth")
NESTED = ("state_dict", "model")  # where common training scripts keep the weights


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What came of giving weights to a network.

    Args:
        loaded: names of the network's tensors that were in the file with the same shape.
        new: names of its other tensors, with their shapes; they keep their initial values.
        unused: names that are in the file only.
    """

    loaded: tuple[str, ...]
    new: tuple[tuple[str, tuple[int, ...]], ...]
    unused: tuple[str, ...]

    def describe(self) -> str:
        """One line for a person.

        Example:
            >>> Transfer(loaded=("a", "b"), new=(("fc.bias", (5,)),), unused=()).describe()
            'loaded 2 of 3 tensors; new: fc.bias (5,)'
        """
        text = f"loaded {len(self.loaded)} of {len(self.loaded) + len(self.new)} tensors"
        if self.new:
            text += f"; new: {_some([f'{name} {shape}' for name, shape in self.new])}"
        if self.unused:
            text += f"; not used: {_some([*self.unused])}"
        return text


def transfer(model: nn.Module, file: Path) -> Transfer:
    """Loads every tensor of a file whose name and shape are those of the network.

    Args:
        model: the network, changed in place.
        file: safetensors, or what `torch.save` wrote of a state_dict; nothing is unpickled
            but tensors and plain containers.
    Raises:
        RunError: when the file is damaged, or none of the network's parameters is in it.
    """
    tensors = read_weights(file)
    own = model.state_dict()
    loaded = tuple(n for n in own if n in tensors and tensors[n].shape == own[n].shape)
    if not any(name in loaded for name, _ in model.named_parameters()):
        raise RunError(
            f"no tensor of {file} fits {type(model).__name__}: it has {_listed(tensors)}, "
            f"the network {_listed(own)}"
        )
    with torch.no_grad():
        for name in loaded:
            own[name].copy_(tensors[name])
    return Transfer(
        loaded=loaded,
        new=tuple((name, tuple(value.shape)) for name, value in own.items() if name not in loaded),
        unused=tuple(name for name in tensors if name not in own),
    )


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a weights file, by name.

    Raises:
        RunError: when there is no such file, or it holds no tensors by name.
    """
    if file.suffix not in TORCH_SUFFIXES:
        return load_tensors(file)[0]
    if not file.is_file():
        raise RunError(f"{file} is missing")
    try:
        tree: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead it to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{file} cannot be read as weights: {reason}") from error
    for key in NESTED:
        if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping):
            tree = tree[key]
    if not isinstance(tree, Mapping) or not any(isinstance(v, Tensor) for v in tree.values()):
        raise RunError(f"{file} holds no tensors by name")
    return {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return _some([f"{name} {tuple(value.shape)}" for name, value in tensors.items()])


def _some(items: list[str]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
