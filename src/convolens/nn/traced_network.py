"""A traced network with the shapes of its tensors, to be edited."""

from typing import Any

from torch import fx, nn

Shapes = dict[str, tuple[int, ...]]
Sizes = tuple[int, ...]


class TracedNetwork:
    """A graph, its modules and the shape of every tensor, kept together while they change.

    Args:
        traced: the network; it is edited in place.
        shapes: of the tensor that each node gives, by the node's name; new nodes are added.
    """

    def __init__(self, traced: fx.GraphModule, shapes: Shapes) -> None:
        self.traced, self.shapes, self.graph = traced, shapes, traced.graph

    def ancestors(self, node: fx.Node, without: fx.Node | None = None) -> set[fx.Node]:
        """Nodes whose tensors a node is computed from, on paths that avoid `without`."""
        found: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            for earlier in waiting.pop().all_input_nodes:
                if earlier is not without and earlier not in found and self.dims(earlier):
                    found.add(earlier)
                    waiting.append(earlier)
        return found

    def between(self, first: fx.Node, last: fx.Node) -> list[fx.Node]:
        """Nodes after the first, up to the last, on the paths from one to the other, in order."""
        before = self.ancestors(last) | {last}
        later = {first}
        for node in self.graph.nodes:
            if node in before and not later.isdisjoint(node.all_input_nodes):
                later.add(node)
        return [n for n in self.graph.nodes if n in later and n is not first]

    def tensor_input(self, node: fx.Node) -> fx.Node:
        return next(n for n in node.all_input_nodes if n.name in self.shapes)

    def dims(self, node: fx.Node) -> int:
        """Axes of the tensor that a node gives; 0 for other values."""
        return len(self.shapes.get(node.name, ()))

    def sides(self, node: fx.Node) -> Sizes:
        return self.shapes[node.name][2:]

    def dim(self, node: fx.Node) -> Any:
        """The axis that an operation is told to work along."""
        return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)

    def word(self, node: fx.Node) -> str:
        """The name of a node's operation: of the module's class, the function or the method."""
        if node.op == "call_module":
            return type(self.module(node)).__name__
        return str(getattr(node.target, "__name__", node.target))

    def module(self, node: fx.Node) -> nn.Module:
        return self.traced.get_submodule(str(node.target))

    def set_module(self, path: str, module: nn.Module) -> None:
        parent, _, leaf = path.rpartition(".")
        setattr(self.traced.get_submodule(parent), leaf, module)

    def replace(self, node: fx.Node, x: fx.Node, module: nn.Module) -> fx.Node:
        """Puts a module in a node's place; it keeps the path of the module that was there."""
        path = f"{node.name}_module"
        if sum(n.target == node.target for n in self.graph.nodes) == 1 and node.op == "call_module":
            path = str(node.target)
        self.set_module(path, module)
        with self.graph.inserting_before(node):
            return self.exchange(node, self.graph.call_module(path, (x,)))

    def exchange(self, node: fx.Node, new: fx.Node) -> fx.Node:
        """Lets a new node, whose tensor has the same shape, stand for a node, which is erased."""
        self.shapes[new.name] = self.shapes[node.name]
        self.drop(node, new)
        return new

    def drop(self, node: fx.Node, replacement: fx.Node) -> None:
        """Erases a node, and the sizes that only it needed."""
        node.replace_all_uses_with(replacement)
        waiting = [node]
        while waiting:
            unused = waiting.pop()
            inputs = unused.all_input_nodes
            self.graph.erase_node(unused)
            waiting += [n for n in inputs if not n.users and n is not replacement]
