"""A network lent out with other tensors in place of its own, and given back as it was found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def borrowed(
    net: nn.Module, substitute: Callable[[Tensor], Tensor], *, training: bool
) -> Iterator[None]:
    """The network in a mode, with `substitute(t)` in place of every parameter and buffer t.

    Whatever happens inside, the network then has its own tensors, modes and attributes again, and
    PyTorch's random state is what it was. A tensor that is shared stays shared.
    """
    modules = list(net.modules())
    attributes = [dict(vars(module)) for module in modules]
    tensors = [(dict(module._parameters), dict(module._buffers)) for module in modules]
    random_state = torch.get_rng_state()
    stand_ins: dict[int, Tensor] = {}
    try:
        net.train(training)
        for module in modules:
            for held in (module._parameters, module._buffers):
                for key, tensor in held.items():
                    if tensor is not None:
                        if id(tensor) not in stand_ins:
                            stand_ins[id(tensor)] = substitute(tensor)
                        held[key] = stand_ins[id(tensor)]  # type: ignore[assignment]
        yield
    finally:
        for module, own, (parameters, buffers) in zip(modules, attributes, tensors, strict=True):
            vars(module).clear()
            vars(module).update(own)
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
        torch.set_rng_state(random_state)
