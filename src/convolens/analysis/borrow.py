"""A network lent out with other tensors in place of its own, and given back as it was found."""

import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (list, dict, set, deque, OrderedDict)


@contextmanager
def borrowed(
    net: nn.Module, substitute: Callable[[Tensor], Tensor], *, training: bool
) -> Iterator[None]:
    """The network in a mode, with `substitute(t)` in place of every parameter and buffer t.

    Whatever happens inside, the network then has its own tensors, modes and attributes again, and
    the random states of PyTorch, NumPy and Python are what they were. A tensor that is shared
    stays shared. Attributes that are tensors, but neither parameters nor buffers, are copied.
    """
    modules = list(net.modules())
    found = [_Found(module) for module in modules]
    stand_ins: dict[int, Tensor] = {}
    random_states = _random_states()
    try:
        _set_mode(net, modules, training)
        for module in modules:
            for held in (module._parameters, module._buffers):
                for key, tensor in held.items():
                    if tensor is not None:
                        if id(tensor) not in stand_ins:
                            stand_ins[id(tensor)] = substitute(tensor)
                        held[key] = stand_ins[id(tensor)]  # type: ignore[assignment]
            for key, value in vars(module).items():
                if isinstance(value, Tensor):
                    vars(module)[key] = value.detach().clone()
        yield
    finally:
        for one in found:
            one.restore()
        _restore(random_states)


def _set_mode(net: nn.Module, modules: list[nn.Module], training: bool) -> None:
    """Does what `net.train(training)` does, past the watch that modules keep on attributes."""
    if any(type(module).train is not nn.Module.train for module in modules):
        net.train(training)
        return
    for module in modules:
        vars(module)["training"] = training


class _Found:
    """A module as it was found: its attributes, and what is in those that hold others."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        containers = [v for v in self.attributes.values() if type(v) in CONTAINERS]
        self.empty = [one for one in containers if not one]
        self.contents = [(one, _copy(one)) for one in containers if one]

    def restore(self) -> None:
        """Puts all back, past the watch that modules keep on their attributes."""
        attributes = vars(self.module)
        attributes.clear()
        attributes.update(self.attributes)
        for one in self.empty:
            if one:
                one.clear()
        for one, content in self.contents:
            _refill(one, content)


def _copy(container: Any) -> Any:
    return dict(container) if hasattr(container, "items") else type(container)(container)


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, list):
        container[:] = content
        return
    container.clear()
    if isinstance(container, deque):
        container.extend(content)
    else:
        container.update(content)


def _random_states() -> tuple[Any, ...]:
    numpy_random = sys.modules.get("numpy.random")  # where nobody has imported it, nobody draws
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return (
        torch.get_rng_state(),
        random.getstate(),
        numpy_random.get_state() if numpy_random else None,
        cuda,
    )


def _restore(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    if states[2] is not None:
        sys.modules["numpy.random"].set_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state_all(states[3])
