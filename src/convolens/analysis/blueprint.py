"""Building a network without its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

META = torch.device("meta")
FACTORIES: frozenset[Callable[..., Any]] = frozenset(
    {
        *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye),
        *(torch.empty_strided, torch.tensor, torch.arange, torch.linspace, torch.randint),
        *(torch.normal, torch.randperm, torch.as_tensor, torch.logspace),
    }
)
FILLS: frozenset[Callable[..., Any]] = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_, Tensor.bernoulli_),
        *(Tensor.erfinv_, Tensor.clamp_, Tensor.mul_, Tensor.add_, Tensor.exponential_),
        *(getattr(nn.init, name) for name in dir(nn.init) if name[0] != "_" == name[-1]),
    }
)


class Blueprint(TorchFunctionMode):
    """While it is entered, new tensors have a form but no values and no memory.

    As `torch.device("meta")` does, and faster: what would fill a tensor without values is left
    out.

    Example:
        >>> with Blueprint():
        ...     net = nn.Linear(9216, 4096)
        >>> net.weight.device.type
        'meta'
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES:
            if kwargs.get("device") is None:
                kwargs = {**kwargs, "device": META}
        elif func in FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
