"""Building a network without its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._device import DeviceContext, _device_constructors

META = torch.device("meta")
CPU = torch.device("cpu")
FILLS: frozenset[Callable[..., Any]] = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_, Tensor.bernoulli_),
        *(Tensor.erfinv_, Tensor.clamp_, Tensor.mul_, Tensor.add_, Tensor.exponential_),
        *(getattr(nn.init, name) for name in dir(nn.init) if name[0] != "_" == name[-1]),
    }
)
# Tables are worth their values: networks compute with them how they are built.
TABLES: frozenset[Callable[..., Any]] = frozenset(
    {torch.arange, torch.linspace, torch.logspace, torch.tensor, torch.as_tensor, torch.range}
)
MAKERS: frozenset[Callable[..., Any]] = frozenset(_device_constructors()) | TABLES


class Blueprint(DeviceContext):
    """While it is entered, new parameters have a form but no values and no memory.

    As under `torch.device("meta")`, and faster: what would fill a tensor without values is left
    out. Tables of numbers (`arange`, `linspace`, `tensor`) have values.

    Example:
        >>> with Blueprint():
        ...     net = nn.Linear(9216, 4096)
        >>> net.weight.device.type
        'meta'
    """

    def __init__(self) -> None:
        super().__init__(META)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        elif func in MAKERS and kwargs.get("device") is None:
            has_values = func in TABLES and not _is_empty(args)
            kwargs = {**kwargs, "device": CPU if has_values else META}
        return func(*args, **kwargs)


def _is_empty(args: tuple[Any, ...]) -> bool:
    """Whether a table has no numbers; `torch.get_default_device` makes such a one to ask."""
    return bool(args) and type(args[0]) is list and not args[0]
