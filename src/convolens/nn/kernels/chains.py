"""Finds the chains of modules that are one kernel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from convolens.nn.kernels.norm_passes import Activation

# What a batch norm computes with itself.
ACTIVATIONS: Mapping[type[nn.Module], Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hard_swish",
}
_FLATTENING = (nn.Flatten, torch.flatten, "flatten", "view", "reshape", torch.reshape)
_PASSING = (nn.Identity, nn.Dropout)
_CHAINS = (
    (nn.Conv2d, nn.ReLU, nn.MaxPool2d),
    (nn.Conv2d, nn.MaxPool2d, nn.ReLU),
    (nn.Conv2d, nn.MaxPool2d),
    *((nn.BatchNorm2d, kind) for kind in ACTIVATIONS),
    (nn.BatchNorm2d,),
    (nn.ReLU, nn.MaxPool2d),
    (nn.MaxPool2d, nn.ReLU),
    (nn.MaxPool2d,),
    (nn.Conv2d,),
)
_ALONE = tuple(kinds[0] for kinds in _CHAINS if len(kinds) == 1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The names of a chain's modules.

    Args:
        flat: whether its values are flattened next, which needs them in the order (C, H, W).
        normalised: whether its values go into a batch norm.
        part: the name of the part in which they follow each other; None where they always do.
    """

    names: tuple[str, ...]
    flat: bool = False
    normalised: bool = False
    part: str | None = None


def find_chains(modules: dict[str, nn.Module]) -> list[Found]:
    """Chains that the network has both in training and in evaluation, without overlap."""
    modes = {module: module.training for module in modules.values()}
    try:
        return list(_chains_in("", modules))
    finally:
        for module, training in modes.items():
            module.training = training


def _chains_in(path: str, modules: dict[str, nn.Module]) -> Iterator[Found]:
    """The chains of a module, or of each of its parts where it cannot be read as a whole."""
    root = modules[path]
    if type(root) in _ALONE:
        yield Found(names=(path,))
        return
    graphs = _read(root)
    if graphs:
        inner = dict(root.named_modules())
        found = [list(_chains_of(graph, inner)) for graph in graphs]
        for chain in found[0]:
            names = tuple(f"{path}.{name}" if path else name for name in chain.names)
            # A module that two parts share has the name that it has in the first.
            if chain in found[1] and all(name in modules for name in names):
                whole = not path or len(names) == 1
                yield replace(chain, names=names, part=None if whole else path)
        return
    for name, _ in root.named_children():
        child = f"{path}.{name}" if path else name
        if child in modules:
            yield from _chains_in(child, modules)


def _read(root: nn.Module) -> list[fx.Graph]:
    """What a module computes in training and in evaluation; empty if that cannot be read."""
    if "forward" in root.__dict__:
        return []  # somebody's own, which the tracer would not see
    graphs = []
    try:
        for training in (True, False):
            root.train(training)
            graphs.append(fx.Tracer().trace(root))
    except Exception:  # whatever a network's own code raises when it is traced
        return []
    return graphs


def _chains_of(graph: fx.Graph, modules: dict[str, nn.Module]) -> Iterator[Found]:
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    taken: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_module" or node in taken or calls.count(node.target) > 1:
            continue
        for kinds in _CHAINS:
            line = _line(node, kinds, modules)
            if line and not taken & set(line):
                taken |= set(line)
                names = tuple(str(n.target) for n in line)
                flat, norm = _goes_flat(line[-1], modules), _is_normalised(line[-1], modules)
                yield Found(names=names, flat=flat, normalised=norm)
                break


def _line(
    node: fx.Node, kinds: tuple[type[nn.Module], ...], modules: dict[str, nn.Module]
) -> list[fx.Node]:
    """The nodes from this one on, if they are of these kinds and each feeds only the next."""
    line = [node]
    for kind in kinds:
        if line[-1].op != "call_module" or type(modules[str(line[-1].target)]) is not kind:
            return []
        if len(line) < len(kinds):
            if len(line[-1].users) != 1:
                return []
            line.append(next(iter(line[-1].users)))
    return line


def _goes_flat(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the values are flattened next, which needs them in the order (C, H, W)."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        kind = type(modules[str(node.target)]) if node.op == "call_module" else node.target
        if kind not in _PASSING:
            return kind in _FLATTENING
    return False


def _is_normalised(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    kinds = [type(modules[str(n.target)]) for n in node.users if n.op == "call_module"]
    return nn.BatchNorm2d in kinds
