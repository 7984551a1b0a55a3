"""When modules may be computed by a kernel without anyone seeing a difference."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def is_plain(x: Tensor) -> bool:
    """Whether a volume is a float32 tensor on the CPU, outside of autocast and compilation."""
    return x.dim() == 4 and is_plain_tensor(x)


def is_plain_tensor(x: Tensor) -> bool:
    """The same of a tensor with any number of axes."""
    return (
        type(x) is Tensor
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def have_hooks(modules: Iterable[nn.Module]) -> bool:
    """Whether a hook is on one of the modules, or on all modules of the process."""
    return any(map(_has_hooks, modules)) or _has_global_hooks()


def _has_hooks(module: nn.Module) -> bool:
    hooks = (
        *(module._forward_hooks, module._forward_pre_hooks),
        *(module._backward_hooks, module._backward_pre_hooks),
    )
    return any(hooks)


def _has_global_hooks() -> bool:
    everyone = nn.modules.module
    hooks = (
        *(everyone._global_forward_hooks, everyone._global_forward_pre_hooks),
        *(everyone._global_backward_hooks, everyone._global_backward_pre_hooks),
    )
    return any(hooks)
