"""Layers one after the other, the chain rule back through them, and the residual block."""

from collections.abc import Mapping

from convolens.errors import ConfigError, ConvolensError, ShapeError
from convolens.scratch.layer import Array, Layer

# What a layer holds beside its parameters: batch normalisation's statistics for the test.
STATISTICS = ("running_mean", "running_var")


class Chain:
    """y = f_n(… f_2(f_1(x))), and ∂L/∂x by the chain rule: the layers' backward passes in reverse.

    A Chain is itself a Layer, so that one can stand inside another. Its parameters are those of
    its layers, under dotted names: "conv1.W" is W of the layer conv1.

    Args:
        layers: by name, in the order of the forward pass.
    Raises:
        ConfigError: when a name has a dot.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        for name in layers:
            if not name or "." in name:
                raise ConfigError(f"a layer's name must have no dot in it, received {name!r}")
        self.layers = dict(layers)
        # The same arrays that the layers hold, not copies: a step of an optimizer changes both.
        self.params = _dotted({name: layer.params for name, layer in self.layers.items()})
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:
        for name, layer in self.layers.items():
            try:
                x = layer.forward(x, training=training)
            except ConvolensError as error:
                raise type(error)(f"{name}: {error.message}", error.hint) from error
        return x

    def backward(self, dout: Array) -> Array:
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        self._collect()
        return dout

    def backward_params(self, dout: Array) -> None:
        """The half of `backward` that fills `grads`; ∂L/∂x is spared where the first layer can.

        Nobody asks for the gradient of the pictures while a network is trained.
        """
        first, *rest = self.layers.values()
        for layer in reversed(rest):
            dout = layer.backward(dout)
        getattr(first, "backward_params", first.backward)(dout)
        self._collect()

    def _collect(self) -> None:
        self.grads = _dotted({name: layer.grads for name, layer in self.layers.items()})

    def state(self) -> dict[str, Array]:
        """Every array that makes the chain what it is: parameters, and statistics for the test."""
        return _dotted({name: state_of(layer) for name, layer in self.layers.items()})


class Residual:
    """y = F(x) + s(x): what F adds to a shortcut s, which is x itself unless shapes differ.

    ∂L/∂x is the sum of what comes back through both ways. The shortcut's share has met no weights
    where s(x) = x: that is why a deep network of such blocks can still be trained.

    Source: He, Zhang, Ren, Sun (2015), arXiv:1512.03385, equations 1 and 2.
    Args:
        volume: F's layers by name; their output has the shape of s(x).
        shortcut: s's layers by name; none of them for x itself.
    Shape: x (N, C, H, W) -> the shape of F(x)
    Raises:
        ShapeError: when F(x) and s(x) differ in shape.
    """

    def __init__(
        self, volume: Mapping[str, Layer], shortcut: Mapping[str, Layer] | None = None
    ) -> None:
        self.volume, self.shortcut = Chain(volume), Chain(shortcut or {})
        self.params = _dotted({"volume": self.volume.params, "shortcut": self.shortcut.params})
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:
        added = self.volume.forward(x, training=training)
        kept = self.shortcut.forward(x, training=training)
        if added.shape != kept.shape:
            raise ShapeError(
                f"a residual block adds F(x) {added.shape} to its shortcut {kept.shape}",
                "Give the shortcut a 1×1 convolution with as many filters and the same stride.",
            )
        return added + kept

    def backward(self, dout: Array) -> Array:
        dx = self.volume.backward(dout) + self.shortcut.backward(dout)
        self.grads = _dotted({"volume": self.volume.grads, "shortcut": self.shortcut.grads})
        return dx

    def state(self) -> dict[str, Array]:
        """Every array of both ways."""
        return _dotted({"volume": self.volume.state(), "shortcut": self.shortcut.state()})


def state_of(layer: Layer) -> dict[str, Array]:
    """A layer's parameters, and its statistics where it has any."""
    if isinstance(layer, Chain | Residual):
        return layer.state()
    statistics = {name: getattr(layer, name) for name in STATISTICS if hasattr(layer, name)}
    return {**layer.params, **statistics}


def _dotted(groups: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """{"a": {"W": …}} as {"a.W": …}."""
    return {f"{group}.{name}": v for group, arrays in groups.items() for name, v in arrays.items()}
