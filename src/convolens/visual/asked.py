"""A network lent for a question about one of its classes, and given back as it was found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convolens.analysis.borrow import borrowed
from convolens.analysis.tracer import tensors_in
from convolens.errors import ConfigError, ShapeError

everyone = nn.modules.module

# A class for all pictures, one for each, or None for the class that the network says itself.
Target = int | Sequence[int] | Tensor | None


@contextmanager
def asked(net: nn.Module) -> Iterator[None]:
    """The network in evaluation mode with gradients by its input, but none by its weights.

    Afterwards its mode, weights, buffers, gradients and attributes are what they were, whatever
    happened inside. Layers that are compiled or computed by kernels of ours compute as written.
    """
    # Kernels of ours, which give no gradient for a part of a chain, stand aside for a hook.
    handle = everyone.register_module_forward_hook(_nothing)
    try:
        # First of all, since a tensor that is made in inference mode has no gradient ever.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            borrowed(net, _lent, training=False),
        ):
            for module in net.modules():
                vars(module).pop("_compiled_call_impl", None)  # `borrowed` puts it back
            yield
    finally:
        handle.remove()


def _nothing(_module: nn.Module, _inputs: Any, _output: Any) -> None:
    return None


def _lent(tensor: Tensor) -> Tensor:
    """A parameter's values without its gradient; a buffer, which a pass may change, is copied."""
    return tensor.detach() if isinstance(tensor, nn.Parameter) else tensor.detach().clone()


def own_input(pictures: Tensor) -> Tensor:
    """A copy of the pictures that gradients are taken by.

    The network gets a clone of it, which it may overwrite.

    Raises:
        ShapeError: when they are no floating-point (N, C, H, W).
    """
    if pictures.dim() != 4 or not pictures.is_floating_point() or pictures.numel() == 0:
        raise ShapeError(
            "pictures must be floating point of shape (N, C, H, W), as the network reads them, "
            f"received {pictures.dtype} of shape {tuple(pictures.shape)}"
        )
    return pictures.detach().clone().requires_grad_()


def class_scores(output: Any) -> Tensor:
    """What a network gives each class: logits, or of a map (N, K, …) the mean over its places.

    Shape: output (N, K, …) or a nest whose first tensor is that -> (N, K)
    """
    first = next(tensors_in(output), None)
    if first is None or first.dim() < 2:
        kind = type(output).__name__ if first is None else tuple(first.shape)
        raise ShapeError(f"the network must give (N, K), a number for each class; it gave {kind}")
    return first if first.dim() == 2 else first.flatten(2).mean(2)


def chosen(scores: Tensor, target: Target) -> Tensor:
    """The class asked about for each picture.

    Shape: scores (N, K) -> int64 (N,)
    Raises:
        ConfigError: when there is no such class, or not one for each picture.
    """
    count, classes = scores.shape
    if target is None:
        return scores.detach().argmax(1)
    asked_for = torch.as_tensor(target, dtype=torch.int64, device=scores.device).flatten()
    if isinstance(target, int):
        asked_for = asked_for.expand(count)
    if len(asked_for) != count:
        raise ConfigError(f"target must be one class or {count}, received {len(asked_for)}")
    wrong = asked_for[(asked_for < 0) | (asked_for >= classes)]
    if len(wrong):
        raise ConfigError(f"there is no class {int(wrong[0])}: the network has 0 to {classes - 1}")
    return asked_for


def score_of(output: Any, classes: Tensor) -> Tensor:
    """The score of each picture's class.

    Shape: -> (N,)
    """
    return class_scores(output).gather(1, classes[:, None])[:, 0]


def ask(net: nn.Module, pictures: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The class asked about and its score, for each picture, without gradients.

    Shape: pictures (N, C, H, W) -> (N,), (N,)
    """
    with asked(net), torch.no_grad():
        scores = class_scores(net(pictures.clone()))
    classes = chosen(scores, target)
    return classes, scores.gather(1, classes[:, None])[:, 0]
