"""Convolution and its transpose as layers.

Both are the three sums of conv2d.py with the roles exchanged:

                            out          dx           dW
    Convolution             conv2d       conv2d_dx    conv2d_dw(x, dout)
    TransposedConvolution   conv2d_dx    conv2d       conv2d_dw(dout, x)
"""

import numpy as np

from convolens.errors import ShapeError
from convolens.scratch.conv2d import conv2d, conv2d_dw, conv2d_dx
from convolens.scratch.layer import (
    Array,
    check_gradient_shape,
    check_input,
    check_whole,
    remembered,
)


class Convolution:
    """out[n, f, y, x] = b[f] + Σ_cij x[n, c, S·y + D·i − P, S·x + D·j − P] · W[f, c, i, j].

    Source: LeCun et al. (1998); Saito (2016), Deep Learning from Scratch, section 7.2.
    Args:
        W: (C_out, C_in/G, K_h, K_w), the filters.
        b: (C_out,); none for a convolution without bias.
        stride: S [px].
        padding: P, zeros at each side [px].
        dilation: D, distance of a filter's taps [px].
        groups: G; C_in = C_out = G is a depthwise convolution.
    Shape: x (N, C_in, H, W) -> (N, C_out, H', W'), H' = floor((H + 2P − D(K_h − 1) − 1)/S) + 1
    Raises:
        ShapeError: when the arrays, the groups or the picture do not fit.
    Example:
        >>> layer = Convolution(np.ones((30, 1, 5, 5)), np.zeros(30))
        >>> layer.forward(np.zeros((100, 1, 28, 28))).shape
        (100, 30, 24, 24)
        >>> layer.backward(np.ones((100, 30, 24, 24))).shape
        (100, 1, 28, 28)
        >>> layer.grads["b"][:2]
        array([57600., 57600.])
    """

    def __init__(
        self,
        W: Array,
        b: Array | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        check_sliding(stride, padding, dilation)
        check_parameters(W, b, len(W), len(W), groups)
        self.params: dict[str, Array] = {"W": W} if b is None else {"W": W, "b": b}
        self.grads: dict[str, Array] = {}
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self._x: Array | None = None
        self._out_shape: tuple[int, ...] = ()

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        out = conv2d(
            x,
            self.params["W"],
            self.params.get("b"),
            **sliding(self),
        )
        self._x, self._out_shape = x, out.shape
        return out

    def backward(self, dout: Array) -> Array:
        self.backward_params(dout)
        x = remembered(self._x, "convolution")
        return conv2d_dx(
            dout,
            self.params["W"],
            (x.shape[2], x.shape[3]),
            **sliding(self),
        )

    def backward_params(self, dout: Array) -> None:
        """The half of `backward` that fills `grads`.

        It is all that the first layer of a network needs: nobody asks for the gradient with
        respect to the pictures, and it takes half of the time.
        """
        x = remembered(self._x, "convolution")
        check_gradient_shape(dout, self._out_shape, "convolution")
        K_h, K_w = self.params["W"].shape[2:]
        self.grads["W"] = conv2d_dw(
            x,
            dout,
            (K_h, K_w),
            **sliding(self),
        )
        if "b" in self.params:
            self.grads["b"] = dout.sum((0, 2, 3))


class TransposedConvolution:
    """out[n, f, S·y + D·i − P, S·x + D·j − P] += x[n, c, y, x] · W[c, f, i, j], and + b[f].

    Every pixel paints the filter, scaled by itself, S pixels further on; where paintings overlap
    they add up. It is the gradient of a convolution used forward, not the inverse of one.

    Source: Dumoulin and Visin (2016), arXiv:1603.07285, chapter 4.
    Args:
        W: (C_in, C_out/G, K_h, K_w): the filters of the convolution that goes the other way.
        b: (C_out,); none for a layer without bias.
        stride: S, pixels of the output from one painting to the next [px].
        padding: P, pixels cut off at each side of the output [px].
        dilation: D [px].
        groups: G.
        output_padding: rows and columns more at the far end, less than S: a convolution of stride
            S gives the same size for S different inputs, and this says which one to return to [px].
    Shape: x (N, C_in, H, W) -> (N, C_out, H', W'), H' = (H − 1)S − 2P + D(K_h − 1) + 1 + more
    Raises:
        ShapeError: when the arrays, the groups or the picture do not fit.
    Example:
        >>> layer = TransposedConvolution(np.ones((1, 1, 2, 2)), stride=2)
        >>> layer.forward(np.array([[[[1.0, 2.0]]]]))[0, 0]
        array([[1., 1., 2., 2.],
               [1., 1., 2., 2.]])
    """

    def __init__(
        self,
        W: Array,
        b: Array | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        output_padding: int = 0,
    ) -> None:
        check_sliding(stride, padding, dilation)
        check_parameters(W, b, W.shape[1] * groups if W.ndim == 4 else 0, len(W), groups)
        if not 0 <= output_padding < stride:
            raise ShapeError(
                f"output_padding must be at least 0 and less than the stride {stride}, "
                f"received {output_padding}"
            )
        self.params: dict[str, Array] = {"W": W} if b is None else {"W": W, "b": b}
        self.grads: dict[str, Array] = {}
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.output_padding = output_padding
        self._x: Array | None = None
        self._out_shape: tuple[int, ...] = ()

    def output_size(self, x: Array) -> tuple[int, int]:
        """(H', W') for x; raises ShapeError with the arithmetic where nothing is left."""
        S, P, D = self.stride, self.padding, self.dilation
        sizes = []
        for size, K in zip(x.shape[2:], self.params["W"].shape[2:], strict=True):
            out = (size - 1) * S - 2 * P + D * (K - 1) + 1 + self.output_padding
            if out < 1:
                raise ShapeError(
                    f"transposed convolution on x {x.shape} leaves nothing: ({size} − 1)·{S} − "
                    f"2·{P} + {D}·({K} − 1) + 1 + {self.output_padding} = {out} < 1"
                )
            sizes.append(out)
        return sizes[0], sizes[1]

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        W = self.params["W"]
        check_input(x, "transposed convolution", (4,))
        if x.shape[1] != len(W):
            raise ShapeError(
                f"transposed convolution with W {W.shape} reads {len(W)} channels, "
                f"received {x.shape[1]} in x {x.shape}"
            )
        out = conv2d_dx(
            x,
            W,
            self.output_size(x),
            **sliding(self),
        )
        if "b" in self.params:
            out = out + self.params["b"].astype(x.dtype, copy=False).reshape(-1, 1, 1)
        self._x, self._out_shape = x, out.shape
        return out

    def backward(self, dout: Array) -> Array:
        self.backward_params(dout)
        return conv2d(
            dout,
            self.params["W"],
            None,
            **sliding(self),
        )

    def backward_params(self, dout: Array) -> None:
        """The half of `backward` that fills `grads`; see Convolution."""
        x = remembered(self._x, "transposed convolution")
        check_gradient_shape(dout, self._out_shape, "transposed convolution")
        K_h, K_w = self.params["W"].shape[2:]
        # dout is the picture here and x the output: the same sum with the roles exchanged.
        self.grads["W"] = conv2d_dw(
            dout,
            x,
            (K_h, K_w),
            **sliding(self),
        )
        if "b" in self.params:
            self.grads["b"] = dout.sum((0, 2, 3))


def sliding(layer: Convolution | TransposedConvolution) -> dict[str, int]:
    """How a layer's window slides, as the sums take it."""
    return {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }


def check_sliding(stride: int, padding: int, dilation: int) -> None:
    """Raises ShapeError when a window cannot slide so."""
    check_whole("stride", stride, 1)
    check_whole("padding", padding, 0)
    check_whole("dilation", dilation, 1)


def check_parameters(W: Array, b: Array | None, num_maps: int, num_grouped: int, G: int) -> None:
    """Raises ShapeError when W, b and the groups are not those of one convolution."""
    if W.ndim != 4 or W.size == 0:
        raise ShapeError(
            f"W must be (maps, channels, K_h, K_w), none of them 0, received {W.shape}"
        )
    if G < 1 or num_grouped % G:
        raise ShapeError(
            f"{G} groups do not divide {num_grouped} maps: {num_grouped} / {G} of W {W.shape}"
        )
    if b is not None and b.shape != (num_maps,):
        raise ShapeError(f"b must be ({num_maps},), one number per map, received {b.shape}")


def naive_transposed_conv2d(
    x: Array,
    W: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    output_padding: int = 0,
) -> Array:
    """The forward pass of TransposedConvolution: every pixel paints its filters, one by one."""
    (N, C, H, W_in), (_, F, K_h, K_w) = x.shape, W.shape
    whole = [
        (size - 1) * stride + dilation * (K - 1) + 1 + output_padding
        for size, K in ((H, K_h), (W_in, K_w))
    ]
    canvas = np.zeros((N, F * groups, *whole), x.dtype)
    for n, c, row, column in np.ndindex(N, C, H, W_in):
        first = c // (C // groups) * F  # of the maps of c's group
        for f, i, j in np.ndindex(F, K_h, K_w):
            u, v = stride * row + dilation * i, stride * column + dilation * j
            canvas[n, first + f, u, v] += x[n, c, row, column] * W[c, f, i, j]
    out = canvas[:, :, padding : whole[0] - padding, padding : whole[1] - padding]
    return out if b is None else out + b.reshape(-1, 1, 1)
