"""The steps that turn the head of a traced classifier into layers on maps."""

from collections.abc import Iterator
from math import prod

from torch import flatten, fx, nn

from convolens.errors import ConfigError
from convolens.nn.crops import crop_rows, crops, rows_to_map
from convolens.nn.dimensions import layers_for
from convolens.nn.maxout import Maxout
from convolens.nn.pooling import GlobalAveragePool
from convolens.nn.traced_network import Shapes, Sizes, TracedNetwork

RESHAPES = {"flatten", "Flatten", "view", "reshape", "squeeze", "contiguous"}
MEANS = {"mean": "avg", "amax": "max"}
# Functions and methods that compute every value from the values at its own place.
POINTWISE = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish", "softplus", "logsigmoid"),
    *("dropout", "alpha_dropout", "clamp", "clone", "float", "contiguous", "to"),
    *("add", "sub", "mul", "truediv", "div", "neg", "pow", "exp", "sqrt", "abs", "square"),
    *("iadd", "isub", "imul", "itruediv", "add_", "sub_", "mul_", "div_"),
}
POINTWISE_MODULES = (
    *(nn.Identity, nn.Dropout, nn.AlphaDropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU),
    *(nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softplus, nn.Softsign, nn.Threshold),
)
# Functions of one vector for each picture.
ROWWISE = {"linear", "layer_norm", "softmax", "log_softmax", "normalize"}


def convert_head(traced: fx.GraphModule, shapes: Shapes, name: str) -> None:
    """Rewrites the graph and its modules in place.

    Args:
        traced: a network of one input, which gives (N, num_classes).
        shapes: of the tensor that each node gives, by the node's name.
        name: the network's, for errors.
    Raises:
        ConfigError: when there is no head, or a part of it cannot be turned.
    """
    _Head(traced, shapes, name).convert()


class _Head:
    """The graph while it is rewritten.

    `windows` says of every node that gave vectors (N, F) and now gives a map which window (h, w)
    of the map holds the values of one vector: F = C·h·w.
    """

    def __init__(self, traced: fx.GraphModule, shapes: Shapes, name: str) -> None:
        self.net = TracedNetwork(traced, shapes)
        self.graph, self.shapes, self.name = traced.graph, shapes, name
        self.source = next(n for n in self.graph.nodes if n.op == "placeholder")
        self.output = next(n for n in self.graph.nodes if n.op == "output")
        self.axes = len(shapes[self.source.name]) - 2
        self.layers = layers_for(self.axes)
        self.unit: Sizes = (1,) * self.axes
        self.windows: dict[fx.Node, Sizes] = {}

    def convert(self) -> None:
        self._merge_flattenings()
        volume, vector = self._find_flattening()
        cropped = None
        for pool, kind in list(self._pools(volume)):
            replaced = self._fix_pool(pool, kind)
            if replaced is None:
                cropped = self._crop(pool)
                break
            volume = replaced if pool is volume else volume
        self._drop_flattening(volume, vector, cropped)
        for node in list(self.graph.nodes):
            if node.op != "output" and any(n in self.windows for n in node.all_input_nodes):
                self._convert_node(node)
        result = self.output.args[0]
        if not isinstance(result, fx.Node) or result not in self.windows:
            raise self._refusal(self.output)
        self.output.replace_input_with(result, self._as_unit(result, self.output))

    # --- where the head begins ---

    def _merge_flattenings(self) -> None:
        """Lets layers that flatten one volume each for itself share one vector."""
        first: dict[fx.Node, fx.Node] = {}
        for node in list(self.graph.nodes):
            if self.net.dims(node) == 2 and self.net.word(node) in RESHAPES:
                volume = self.net.tensor_input(node)
                if self.net.dims(volume) > 2 and first.setdefault(volume, node) is not node:
                    self.net.drop(node, first[volume])

    def _find_flattening(self) -> tuple[fx.Node, fx.Node]:
        """The last volume and the first vector that all paths to the output pass."""
        for vector in reversed(list(self.graph.nodes)):
            if self.net.dims(vector) != 2 or not self._is_on_all_paths(vector):
                continue
            chain, steps = vector, 0
            while self.net.dims(chain) not in (0, self.axes + 2) and steps <= self.axes + 1:
                if chain is not vector and self.net.word(chain) not in RESHAPES | MEANS.keys():
                    break
                tensors = [n for n in chain.all_input_nodes if self.net.dims(n)]
                chain, steps = (tensors[0] if len(tensors) == 1 else self.source), steps + 1
                if self.net.dims(chain) == 2:
                    break
            if self.net.dims(chain) == self.axes + 2 and chain is not self.source:
                return chain, vector
        raise ConfigError(
            f"{self.name} has no place where a volume is flattened or pooled to one vector for "
            "each picture",
            "convolutionalize takes classifiers of convolutions followed by affine layers.",
        )

    def _is_on_all_paths(self, node: fx.Node) -> bool:
        """Whether no tensor reaches the output past the node."""
        return self.source not in self.net.ancestors(self.output, without=node)

    # --- pooling of the whole picture ---

    def _pools(self, volume: fx.Node) -> Iterator[tuple[fx.Node, str]]:
        """Pooling whose windows depend on the picture's size, unless a larger map comes after."""
        before = self.net.ancestors(volume) | {volume}
        for node in self.graph.nodes:
            kind = self._pool_kind(node) if node in before else None
            if kind is None or self.net.dims(node) != self.axes + 2:
                continue
            sides = self.net.sides(node)
            if all(
                side <= limit
                for n in self.net.between(node, volume)
                if self.net.dims(n) == self.axes + 2
                for side, limit in zip(self.net.sides(n), sides, strict=True)
            ):
                yield node, kind

    def _pool_kind(self, node: fx.Node) -> str | None:
        """Whether it is average or maximum pooling that adapts to the size of its input."""
        if node.op == "call_module":
            module = self.net.module(node)
            if isinstance(module, self.layers.adaptive_avg_pool | GlobalAveragePool):
                return "avg"
            is_max = isinstance(module, self.layers.adaptive_max_pool)
            return "max" if is_max and not getattr(module, "return_indices", False) else None
        word = self.net.word(node).lstrip("_")
        for kind in ("avg", "max"):
            if word.startswith(f"adaptive_{kind}_pool"):
                return kind
            # A kernel that was read off the input's size.
            if word.startswith(f"{kind}_pool") and len(node.all_input_nodes) > 1:
                return kind if self.net.sides(node) == self.unit else None
        return MEANS[word] if word in MEANS and self._takes_all_axes(node) else None

    def _takes_all_axes(self, node: fx.Node) -> bool:
        dims = self.net.dim(node)
        given = dims if isinstance(dims, list | tuple) else (dims,)
        count = self.axes + 2
        return self.net.dims(self.net.tensor_input(node)) == count and {
            d % count for d in given if isinstance(d, int)
        } == set(range(2, count))

    def _fix_pool(self, node: fx.Node, kind: str) -> fx.Node | None:
        """Gives pooling a fixed window; None where the sides do not divide."""
        x = self.net.tensor_input(node)
        before, after = self.net.sides(x), self.net.sides(node) or self.unit
        if any(b % a for b, a in zip(before, after, strict=True)):
            return None
        kernel = tuple(b // a for b, a in zip(before, after, strict=True))
        stride = tuple(1 if a == 1 else k for k, a in zip(kernel, after, strict=True))
        layer = self.layers.avg_pool if kind == "avg" else self.layers.max_pool
        pool = nn.Identity() if kernel == self.unit else layer(kernel, stride=stride)
        return self.net.replace(node, x, pool)

    def _crop(self, pool: fx.Node) -> fx.Node:
        """Lets uneven pooling, and all up to the vector, see every window of the map alone."""
        if not self._is_on_all_paths(pool):
            before, after = self.net.sides(self.net.tensor_input(pool)), self.net.sides(pool)
            raise ConfigError(
                f"{pool.name} of {self.name} pools {before} to {after} beside another path, and "
                "these sizes do not divide",
                "Give an input_size at which they do.",
            )
        x = self.net.tensor_input(pool)
        pool.replace_input_with(x, self._windows_of(x))
        return x

    def _windows_of(self, x: fx.Node) -> fx.Node:
        with self.graph.inserting_after(x):
            windows = self.graph.call_function(crops, (x, self.net.sides(x)))
        self.shapes[windows.name] = self.shapes[x.name]
        return windows

    def _drop_flattening(self, volume: fx.Node, vector: fx.Node, cropped: fx.Node | None) -> None:
        """Leaves the flattening out: from here on nodes give maps instead of vectors."""
        segment = self.net.between(volume, vector)
        direct = volume in vector.all_input_nodes
        if cropped is None and all(self.net.word(n) in RESHAPES for n in segment):
            self.net.drop(vector, volume)
            self.windows[volume] = self.net.sides(volume)
            return
        if cropped is None and direct and (kind := self._pool_kind(vector)):
            pooled = self._fix_pool(vector, kind)
            self.windows[pooled or volume] = self.unit
            return
        if cropped is None:
            if direct and vector.op != "call_module":
                raise self._refusal(vector)
            cropped = volume
            windows = self._windows_of(volume)
            for node in segment:
                node.replace_input_with(volume, windows)
        for node in segment:
            vector = self._batch_free(node)
        self._back_to_map(vector, cropped, self.net.sides(cropped))

    def _batch_free(self, node: fx.Node) -> fx.Node:
        """The node, or in place of a reshaping to a fixed batch one that keeps any batch."""
        word, axes = self.net.word(node), self.net.dims(node)
        dim = self.net.dim(node)
        dims = dim if isinstance(dim, list | tuple) else (dim,)
        count = len(self.shapes[self.net.tensor_input(node).name])
        if word in MEANS and not all(isinstance(d, int) and d % count > 1 for d in dims):
            raise self._refusal(node)
        if word not in ("view", "reshape"):
            return node
        with self.graph.inserting_before(node):
            flat = self.graph.call_function(flatten, (self.net.tensor_input(node), axes - 1))
        return self.net.exchange(node, flat)

    # --- the layers of the head ---

    def _convert_node(self, node: fx.Node) -> None:
        if node.name not in self.shapes or node not in self.net.ancestors(self.output):
            return  # a size, read for a reshaping that is gone
        inputs = [n for n in node.all_input_nodes if n in self.windows]
        x, word = inputs[0], self.net.word(node)
        if (
            self.net.dims(node) != 2
            or self.shapes[node.name][0] != self.shapes[self.source.name][0]
        ):
            raise self._refusal(node)
        if word in RESHAPES and self.shapes[node.name] == self.shapes[x.name]:
            self.net.drop(node, x)
        elif node.op == "call_module":
            self._convert_module(node, x, self.net.module(node))
        elif word == "cat" and self.net.dim(node) == 1:
            for each in inputs:
                node.replace_input_with(each, self._as_unit(each, node))
            self.windows[node] = self.unit
        elif word in ("softmax", "log_softmax") and self.net.dim(node) == 1:
            node.replace_input_with(x, self._as_unit(x, node))
            self.windows[node] = self.unit
        elif word in POINTWISE and self._is_pointwise(node, inputs):
            self.windows[node] = self.windows[x]
        elif word in ROWWISE and len(inputs) == 1:
            self._by_rows(node, x)
        else:
            raise self._refusal(node)

    def _convert_module(self, node: fx.Node, x: fx.Node, module: nn.Module) -> None:
        window = self.windows[x]
        alone = sum(n.target == node.target for n in self.graph.nodes) == 1
        if isinstance(module, POINTWISE_MODULES):
            self.windows[node] = window
        elif type(module) is nn.Linear and alone:
            self.net.set_module(str(node.target), self._conv(module, window))
            self.windows[node] = self.unit
        elif type(module) is nn.BatchNorm1d and alone:
            node.replace_input_with(x, self._as_unit(x, node))
            self.net.set_module(str(node.target), self._batch_norm(module))
            self.windows[node] = self.unit
        elif window == self.unit and (
            isinstance(module, Maxout)
            or (isinstance(module, nn.Softmax | nn.LogSoftmax) and module.dim == 1)
        ):
            self.windows[node] = self.unit
        elif len(node.all_input_nodes) == 1:
            self._by_rows(node, x)
        else:
            raise self._refusal(node)

    def _conv(self, linear: nn.Linear, window: Sizes) -> nn.Module:
        """The convolution whose windows are the vectors that the layer took."""
        channels = linear.in_features // prod(window)
        conv = self.layers.conv(
            channels, linear.out_features, window, bias=linear.bias is not None, device="meta"
        )
        weight = linear.weight
        conv.weight = nn.Parameter(
            weight.detach().reshape(linear.out_features, channels, *window),
            requires_grad=weight.requires_grad,
        )
        if linear.bias is not None:
            conv.bias = linear.bias
        return conv

    def _batch_norm(self, norm: nn.BatchNorm1d) -> nn.Module:
        made = self.layers.batch_norm(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        made._parameters, made._buffers = norm._parameters, norm._buffers
        return made

    def _by_rows(self, node: fx.Node, x: fx.Node) -> None:
        """Computes a layer that needs vectors on the vector of every position."""
        window = self.windows[x]
        with self.graph.inserting_before(node):
            rows = self.graph.call_function(crop_rows, (x, window))
        node.replace_input_with(x, rows)
        self._back_to_map(node, x, window)

    def _as_unit(self, x: fx.Node, user: fx.Node) -> fx.Node:
        """A map of which each position holds a whole vector."""
        window = self.windows[x]
        if window == self.unit:
            return x
        with self.graph.inserting_before(user):
            rows = self.graph.call_function(crop_rows, (x, window))
            unit = self.graph.call_function(rows_to_map, (rows, x, window))
        self.shapes[unit.name] = self.shapes.get(x.name, ())
        self.windows[unit] = self.unit
        return unit

    def _is_pointwise(self, node: fx.Node, inputs: list[fx.Node]) -> bool:
        """Whether all tensors of the operation are vectors of one window, or single numbers."""
        others = [n for n in node.all_input_nodes if n not in inputs]
        return all(self.windows[n] == self.windows[inputs[0]] for n in inputs) and all(
            self.net.dims(n) == 0 for n in others
        )

    # --- the graph ---

    def _back_to_map(self, rows: fx.Node, x: fx.Node, sizes: Sizes) -> None:
        with self.graph.inserting_after(rows):
            back = self.graph.call_function(rows_to_map, (rows, x, sizes))
        rows.replace_all_uses_with(back, delete_user_cb=lambda user: user is not back)
        self.shapes[back.name] = self.shapes[rows.name]
        self.windows[back] = self.unit

    def _refusal(self, node: fx.Node) -> ConfigError:
        where = str(node.target) if node.op == "call_module" else node.name
        return ConfigError(
            f"convolutionalize cannot turn {where} ({self.net.word(node)}) in the head of "
            f"{self.name} into a layer on maps",
            "It takes affine layers, element-wise operations, batch norm, dropout and pooling.",
        )
