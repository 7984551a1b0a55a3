"""What a layer of the NumPy floor is, and the questions that each asks of its input."""

from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from convolens.errors import ConvolensError, DataError, ShapeError

# float32 or float64, whichever the input has: every layer answers in the dtype it was asked in.
Array: TypeAlias = npt.NDArray[Any]
T = TypeVar("T")

AXES = {2: "(N, D)", 4: "(N, C, H, W)"}


class Layer(Protocol):
    """One function of a network, y = f(x; params), with its derivative written out by hand.

    A layer remembers of its last forward pass what the backward pass needs, so the two are called
    in turn. It holds nothing else between them.

    Args:
        params: what the layer learns, by name; an optimizer changes these arrays in place. Empty
            for layers that learn nothing.
        grads: ∂L/∂p for each p of params, under the same names, after `backward`.
    Example:
        >>> from convolens.scratch.activations import ReLU
        >>> layer: Layer = ReLU()
        >>> layer.forward(np.array([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
        >>> layer.backward(np.array([[5.0, 5.0]])).tolist()
        [[0.0, 5.0]]
    """

    params: dict[str, Array]
    grads: dict[str, Array]

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """y = f(x). Dropout and batch normalisation behave differently while training."""
        ...

    def backward(self, dout: Array) -> Array:
        """∂L/∂x, from dout = ∂L/∂y by the chain rule; leaves ∂L/∂p in `grads`."""
        ...


def check_input(x: Array, who: str, dims: tuple[int, ...] = ()) -> None:
    """Raises what is wrong with x before a layer named `who` computes anything.

    Only the shape and the dtype are looked at: both are free. Whether a number is NaN would cost
    a pass over the array in every layer, so that question is left to the loss, which every number
    of the network reaches.

    Args:
        x: the input.
        who: the layer, as the message shall name it.
        dims: the numbers of axes that it can read; none given, any from two on.
    Raises:
        ShapeError: when x has another number of axes, or no pictures, or an axis of length 0.
        DataError: when x is not float32 or float64.
    """
    if x.dtype not in (np.float32, np.float64):
        raise DataError(
            f"{who} expected float32 or float64, received {x.dtype}",
            "Pictures of bytes become floats by x.astype(np.float32) / 255.",
        )
    if x.ndim < 2 or (dims and x.ndim not in dims):
        wanted = " or ".join(AXES[d] for d in dims) or "(N, …)"
        raise ShapeError(f"{who} expected x {wanted}, received {x.shape}")
    if x.shape[0] == 0:
        raise ShapeError(f"{who} received an empty batch: {x.shape}")
    if x.size == 0:
        raise ShapeError(f"{who} received x {x.shape}, which holds no numbers")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ShapeError when a number of pixels is not whole or too small."""
    if not isinstance(value, int | np.integer) or value < least:
        raise ShapeError(f"{name} must be a whole number of at least {least}, received {value!r}")


def check_gradient_shape(dout: Array, shape: tuple[int, ...], who: str) -> None:
    """Raises ShapeError when dout has not the shape of what `forward` gave."""
    if dout.shape != shape:
        raise ShapeError(f"{who} gave {shape} forward, so dout must be {shape}: {dout.shape}")


def remembered(value: T | None, who: str) -> T:
    """What the forward pass left for the backward pass; an error where there was none."""
    if value is None:
        raise ConvolensError(f"{who} has nothing to go back from: call forward before backward")
    return value
