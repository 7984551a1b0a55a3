"""A classifier becomes a network for larger pictures, which gives a heat map."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from convolens.errors import ConfigError, ShapeError
from convolens.nn.convolutional_head import convert_head
from convolens.nn.pooling import GlobalAveragePool, SpatialPyramidPool
from convolens.nn.traced_network import Shapes

# Two pictures, so that a batch of one is not mistaken for an axis that can be dropped.
BATCH = 2
POOLS_OF_ALL = (GlobalAveragePool, SpatialPyramidPool)


def convolutionalize(net: nn.Module, input_size: tuple[int, ...] = (3, 224, 224)) -> fx.GraphModule:
    """Turns the fully connected head of a classifier into convolutions with the same parameters.

    The flattening of the last volume (C, h, w) is left out, the affine layer after it becomes a
    convolution of h×w windows, every further one a convolution of 1×1. Where all positions were
    pooled, pooling takes windows of the size that they had. A layer that needs vectors is
    computed on the vector of each position. So the result gives at `input_size` the scores of
    `net`, as (N, num_classes, 1, 1), and on a larger picture the scores of every window, at the
    cost of one pass: the step from one to the next is the product of all strides of `net`.

    Without padding, each score is exactly that of `net` on the crop. With padding, a crop is
    surrounded by zeros in every layer, while a window of the larger picture sees its
    surroundings: the scores are close, and only near the border the same. Pooling of the whole
    picture inside a block (squeeze-and-excitation) goes on to take the whole picture.

    Source: Sermanet et al. (2013), OverFeat, arXiv:1312.6229, section 3.5; Long, Shelhamer,
        Darrell (2015), Fully convolutional networks, arXiv:1411.4038, section 3.1.
    Args:
        net: a network that `torch.fx` can read; it is left as it is, and no memory is shared.
            What it decides by its mode, except for dropout, is decided as in evaluation.
        input_size: (C, H, W) of the pictures that `net` classifies; (C, L) and (C, D, H, W) for
            networks of one and three axes.
    Shape: x (N, C, H, W) -> (N, num_classes, H', W'), 1×1 at input_size.
    Returns: the new network, in the mode of `net`; parameters keep their names, weights of
        affine layers their values and order.
    Raises:
        ConfigError: when there is no such head, or a part of the network cannot be turned.
        ShapeError: when `net` does not take pictures of input_size.
    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
        >>> convolutionalize(net, (1, 12, 12))(torch.zeros(1, 1, 20, 30)).shape
        torch.Size([1, 10, 9, 19])
    """
    if not 2 <= len(input_size) <= 4 or min(input_size) < 1:
        raise ShapeError(f"input_size must be (C, H, W), received {tuple(input_size)}")
    name = type(net).__name__
    modes = {path: module.training for path, module in net.named_modules()}
    copy = deepcopy(net).eval()
    leaves = _leaves(copy, name, input_size)
    graph = _trace(copy, name, leaves)
    traced = fx.GraphModule(copy, graph, class_name=name)
    convert_head(traced, _shapes(traced, name, input_size), name)
    _keep_dropout(traced)
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    _check(traced, name, input_size)
    for path, module in traced.named_modules():
        module.training = modes.get(path, net.training)
    return traced


class _Tracer(fx.Tracer):
    """Enters every module except those that are known to keep the number of axes."""

    def __init__(self, leaves: set[str]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )


class _Recorder(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op != "output":
            self.shapes[n.name] = tuple(result.shape)
        return result


def _meta_copy(net: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes and no values."""
    memo: dict[int, Any] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for buffer in net.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    copy = deepcopy(net, memo).eval()
    for module in copy.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # It keeps the shape, and on tensors without values it costs ten convolutions.
            vars(module)["forward"] = torch.empty_like
    return copy


def _picture(net: nn.Module, input_size: tuple[int, ...]) -> Tensor:
    kinds = [p.dtype for p in net.parameters() if p.is_floating_point()]
    return torch.empty(BATCH, *input_size, dtype=kinds[0] if kinds else None, device="meta")


def _leaves(net: nn.Module, name: str, input_size: tuple[int, ...]) -> set[str]:
    """Paths of the modules that need not be entered: without parts, axes in as out."""
    meta = _meta_copy(net)
    kept: dict[str, bool] = {}

    def note(path: str, inputs: tuple[Any, ...], output: Any) -> None:
        same = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)
        kept[path] = kept.get(path, True) and same and inputs[0].dim() == output.dim()

    for path, module in meta.named_modules():
        if path and not any(module.children()):
            module.register_forward_hook(
                lambda _, inputs, output, path=path: note(path, inputs, output)
            )
    try:
        with torch.no_grad():
            meta(_picture(net, input_size))
    except Exception as error:
        raise ShapeError(
            f"{name} does not take a picture of {_times(input_size)}: {_reason(error)}",
            "Give the input_size that the network was built for.",
        ) from error
    pools = {path for path, module in net.named_modules() if isinstance(module, POOLS_OF_ALL)}
    return {path for path, same in kept.items() if same} | pools


def _trace(net: nn.Module, name: str, leaves: set[str]) -> fx.Graph:
    try:
        return _Tracer(leaves).trace(net)
    except Exception as error:
        raise ConfigError(
            f"convolutionalize cannot follow the forward pass of {name}: {_reason(error)}",
            "Values must not decide which operations run.",
        ) from error


def _shapes(traced: fx.GraphModule, name: str, input_size: tuple[int, ...]) -> Shapes:
    meta: Any = _meta_copy(traced)
    recorder = _Recorder(meta)
    try:
        with torch.no_grad():
            recorder.run(_picture(traced, input_size))
    except Exception as error:
        raise ConfigError(
            f"convolutionalize cannot follow the forward pass of {name}: {_reason(error)}"
        ) from error
    return recorder.shapes


def _keep_dropout(traced: fx.GraphModule) -> None:
    """Functional dropout, which tracing in evaluation has switched off, becomes a module."""
    kinds = {
        nn.functional.dropout: nn.Dropout,
        nn.functional.dropout1d: nn.Dropout1d,
        nn.functional.dropout2d: nn.Dropout2d,
        nn.functional.dropout3d: nn.Dropout3d,
        nn.functional.alpha_dropout: nn.AlphaDropout,
    }
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or node.target not in kinds:
            continue
        given = dict(zip(("input", "p", "training"), node.args, strict=False)) | node.kwargs
        if given.get("training", True) is not False:
            continue
        path = f"{node.name}_module"
        traced.add_submodule(path, kinds[node.target](given.get("p", 0.5)))
        with traced.graph.inserting_before(node):
            node.replace_all_uses_with(traced.graph.call_module(path, (given["input"],)))
        traced.graph.erase_node(node)


def _check(traced: fx.GraphModule, name: str, input_size: tuple[int, ...]) -> None:
    """Runs the result without values: one position at input_size, and twice the size."""
    meta: Any = _meta_copy(traced)
    larger = (input_size[0], *(2 * side for side in input_size[1:]))
    with torch.no_grad():
        one = meta(_picture(traced, input_size))
        if tuple(one.shape[2:]) != (1,) * (len(input_size) - 1):
            raise ConfigError(
                f"the head of {name} gives a map of {_times(tuple(one.shape[2:]))} at "
                f"{_times(input_size)}, expected one position"
            )
        try:
            fx.Interpreter(meta).run(_picture(traced, larger))
        except Exception as error:
            raise ConfigError(f"{name} cannot run on larger pictures: {_reason(error)}") from error


def _times(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def _reason(error: Exception) -> str:
    """The first line of another's message, without the end of its sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
