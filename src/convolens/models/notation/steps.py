"""The layers of a network whose forward calls them one after the other."""

from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn import functional as F

from convolens.errors import ConfigError

FLATTEN = ("flatten", torch.flatten)
RELU = ("relu", "relu_", torch.relu, F.relu)


class _Tracer(fx.Tracer):
    """Looks into plain Sequentials only."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return type(m) is not nn.Sequential


def steps(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that the evaluation of one input calls, in their order, with their paths.

    A flatten or a ReLU that is a function counts as the module.

    Raises:
        ConfigError: when forward cannot be traced, or does something else between the modules.
    """
    was_training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        graph = _Tracer().trace(net)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the order of the layers of {type(net).__name__} cannot be found: {reason}"
        ) from error
    finally:
        for module, training in was_training.items():
            module.training = training
    before: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "placeholder" and before is None:
            before = node
            continue
        if node.op == "output" and node.args == (before,):
            return
        step = _step(net, node)
        if step is None or node.all_input_nodes != [before]:
            raise ConfigError(
                f"{type(net).__name__} is not one layer after the other: the notation has no word "
                f"for {node.name}"
            )
        yield step
        before = node


def _step(net: nn.Module, node: fx.Node) -> tuple[str, nn.Module] | None:
    if node.op == "call_module":
        return str(node.target), net.get_submodule(str(node.target))
    arguments = (*node.args[1:], *node.kwargs.values())
    if node.target in FLATTEN and arguments == (1,):
        return node.name, nn.Flatten()
    if node.target in RELU and not {*arguments} - {True, False}:
        return node.name, nn.ReLU()
    return None
