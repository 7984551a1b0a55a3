"""A network that is asked for something else than its own outputs."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def asking(net: nn.Module, forward: Callable[[Tensor], Any]) -> nn.Module:
    """The same network, layers, names and weights, whose forward pass is another function.

    What is asked of its layers can then be asked about one number: one box, the pixels of one
    class. The network itself is left as it is.

    Args:
        forward: from the pictures to what is asked, by the network's own layers.
    """
    other = copy.copy(net)  # modules and parameters are shared
    vars(other).pop("_compiled_call_impl", None)  # which computes what the network does itself
    other.forward = forward
    return other
