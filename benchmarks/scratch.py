"""SimpleConvNet's training step in NumPy: how many ms, and how it compares.

One step is forward, softmax loss, backward and an Adam step for a batch of 100 pictures of 28×28
(30 filters of 5×5, pooling by 2, 100 and 10 units), float32 but for the second. Five ways, which
take turns within one process, so that what disturbs the machine disturbs all:

    loop      a loop over the positions of the window, a product of matrices at each
    book      im2col as chapter 7 of the book describes it: pad, fill the columns filter position
              by filter position, np.dot; pooling by argmax over the columns. In float64, which is
              what np.zeros and np.random.randn give where no dtype is named, as in the book
    book32    the same in float32
    ours      convolens.scratch
    eager     PyTorch as it is, of the same network by to_torch

    python benchmarks/scratch.py [--times 15] [--batch 100]

The loop, the slowest, takes fewer turns. Before the clock starts, the gradients of all are
compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from convolens.scratch.activations import ReLU
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.losses import SoftmaxWithLoss
from convolens.scratch.network import Network
from convolens.scratch.networks import simple_convnet
from convolens.scratch.optimizers import Adam
from convolens.workbench.to_torch import to_torch

Array = NDArray[Any]
Step = Callable[[], None]


class LoopConvolution:
    """Σ over the taps of each position, one position after the other; the stride is 1."""

    def __init__(self, W: Array, b: Array) -> None:
        self.params = {"W": W, "b": b}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        W, b = self.params["W"], self.params["b"]
        (N, _, H, width), (F, _, K, _) = x.shape, W.shape
        self.x = x
        out = np.zeros((N, F, H - K + 1, width - K + 1), x.dtype)
        for y in range(H - K + 1):
            for z in range(width - K + 1):
                window = x[:, :, y : y + K, z : z + K].reshape(N, -1)
                out[:, :, y, z] = window @ W.reshape(F, -1).T + b
        return out

    def backward(self, dout: Array) -> Array:
        W, x = self.params["W"], self.x
        F, C, K, _ = W.shape
        dx, dW = np.zeros_like(x), np.zeros((F, C * K * K), x.dtype)
        for y in range(dout.shape[2]):
            for z in range(dout.shape[3]):
                d = dout[:, :, y, z]
                dW += d.T @ x[:, :, y : y + K, z : z + K].reshape(len(x), -1)
                dx[:, :, y : y + K, z : z + K] += (d @ W.reshape(F, -1)).reshape(-1, C, K, K)
        self.grads = {"W": dW.reshape(W.shape), "b": dout.sum(axis=(0, 2, 3))}
        return dx


class LoopPooling:
    """The greatest number of each window of 2×2, one position after the other."""

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        self.x = x
        out = np.zeros((*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2), x.dtype)
        for y in range(out.shape[2]):
            for z in range(out.shape[3]):
                out[:, :, y, z] = x[:, :, 2 * y : 2 * y + 2, 2 * z : 2 * z + 2].max(axis=(2, 3))
        return out

    def backward(self, dout: Array) -> Array:
        N, C = dout.shape[:2]
        dx = np.zeros_like(self.x)
        n, c = np.ogrid[:N, :C]
        for y in range(dout.shape[2]):
            for z in range(dout.shape[3]):
                window = self.x[:, :, 2 * y : 2 * y + 2, 2 * z : 2 * z + 2].reshape(N, C, 4)
                winner = window.argmax(axis=2)
                dx[n, c, 2 * y + winner // 2, 2 * z + winner % 2] = dout[:, :, y, z]
        return dx


def book_im2col(x: Array, K: int, stride: int, pad: int) -> Array:
    """(N, C, H, W) -> (N·H'·W', C·K·K), filled by a loop over the filter's positions."""
    N, C, H, W = x.shape
    out_h, out_w = (H + 2 * pad - K) // stride + 1, (W + 2 * pad - K) // stride + 1
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    columns = np.zeros((N, C, K, K, out_h, out_w), x.dtype)
    for i in range(K):
        for j in range(K):
            rows, cols = slice(i, i + stride * out_h, stride), slice(j, j + stride * out_w, stride)
            columns[:, :, i, j] = padded[:, :, rows, cols]
    return columns.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, -1)


def book_col2im(columns: Array, shape: tuple[int, ...], K: int, stride: int, pad: int) -> Array:
    """The way back: what the windows have in common is added up."""
    N, C, H, W = shape
    out_h, out_w = (H + 2 * pad - K) // stride + 1, (W + 2 * pad - K) // stride + 1
    parts = columns.reshape(N, out_h, out_w, C, K, K).transpose(0, 3, 4, 5, 1, 2)
    padded = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1), columns.dtype)
    for i in range(K):
        for j in range(K):
            rows, cols = slice(i, i + stride * out_h, stride), slice(j, j + stride * out_w, stride)
            padded[:, :, rows, cols] += parts[:, :, i, j]
    return padded[:, :, pad : H + pad, pad : W + pad]


class BookConvolution:
    """Section 7.4.3: columns times filters, then the axes put in order."""

    def __init__(self, W: Array, b: Array) -> None:
        self.params = {"W": W, "b": b}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        W, b = self.params["W"], self.params["b"]
        F, _, K, _ = W.shape
        self.shape, self.columns = x.shape, book_im2col(x, K, 1, 0)
        out = np.dot(self.columns, W.reshape(F, -1).T) + b
        side = x.shape[2] - K + 1
        return out.reshape(len(x), side, -1, F).transpose(0, 3, 1, 2)

    def backward(self, dout: Array) -> Array:
        W = self.params["W"]
        F, _, K, _ = W.shape
        flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
        dW = np.dot(self.columns.T, flat).transpose(1, 0).reshape(W.shape)
        self.grads = {"W": dW, "b": flat.sum(axis=0)}
        return book_col2im(np.dot(flat, W.reshape(F, -1)), self.shape, K, 1, 0)


class BookPooling:
    """Section 7.4.4: a row for each window, and the greatest of each row."""

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        N, C, H, W = x.shape
        self.shape = x.shape
        windows = book_im2col(x, 2, 2, 0).reshape(-1, 4)
        self.winner = windows.argmax(axis=1)
        return windows.max(axis=1).reshape(N, H // 2, W // 2, C).transpose(0, 3, 1, 2)

    def backward(self, dout: Array) -> Array:
        flat = dout.transpose(0, 2, 3, 1)
        windows = np.zeros((flat.size, 4), dout.dtype)
        windows[np.arange(flat.size), self.winner] = flat.flatten()
        columns = windows.reshape(flat.shape[0] * flat.shape[1] * flat.shape[2], -1)
        return book_col2im(columns, self.shape, 2, 2, 0)


class BookReLU:
    """Section 5.5.1: a mask of what is not positive."""

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool = False) -> Array:  # noqa: ARG002
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: Array) -> Array:
        dout = dout.copy()
        dout[self.mask] = 0
        return dout


def with_layers(kind: str) -> Network:
    """SimpleConvNet with the same weights, of layers of one kind."""
    if kind == "ours":
        return simple_convnet(seed=0, weight_std=0.1)
    dtype = np.float64 if kind == "book" else np.float32
    params = simple_convnet(seed=0, weight_std=0.1, dtype=dtype).params
    loops = kind == "loop"
    convolution = LoopConvolution if loops else BookConvolution
    relu = ReLU if loops else BookReLU
    layers = {
        "conv1": convolution(params["conv1.W"], params["conv1.b"]),
        "relu1": relu(),
        "pool1": LoopPooling() if loops else BookPooling(),
        "flatten": Flatten(),
        "fc1": Affine(params["fc1.W"], params["fc1.b"]),
        "relu2": relu(),
        "fc2": Affine(params["fc2.W"], params["fc2.b"]),
    }
    return Network(layers, SoftmaxWithLoss())


def eager(x: Array, t: Array) -> tuple[Step, Callable[[], Array]]:
    """PyTorch's step, and its gradient of the filters."""
    module = to_torch(with_layers("ours"))
    optimizer = torch.optim.Adam(module.parameters())
    pixels, labels = torch.from_numpy(x), torch.from_numpy(t)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(module(pixels), labels).backward()
        optimizer.step()

    def gradient() -> Array:
        optimizer.zero_grad()
        F.cross_entropy(module(pixels), labels).backward()
        first: Array = next(module.parameters()).grad.numpy()
        return first

    return step, gradient


def by_hand(kind: str, x: Array, t: Array) -> tuple[Step, Callable[[], Array]]:
    """The step of a NumPy network, and its gradient of the filters."""
    network, optimizer = with_layers(kind), Adam()
    x = x.astype(network.params["conv1.W"].dtype)

    def step() -> None:
        optimizer.update(network.params, network.gradient(x, t))

    return step, lambda: network.gradient(x, t)["conv1.W"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--batch", type=int, default=100)
    words = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((words.batch, 1, 28, 28)).astype(np.float32)
    t = rng.integers(0, 10, words.batch)
    ways = {kind: by_hand(kind, x, t) for kind in ("loop", "book", "book32", "ours")}
    ways["eager"] = eager(x, t)
    expected = ways["eager"][1]()
    for name, (step, gradient) in ways.items():
        error = np.abs(gradient() - expected).max() / np.abs(expected).max()
        if error > 1e-4:
            raise SystemExit(f"{name}: the gradient differs by {error:.1e}")
        step()  # what is allocated once is allocated now
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(words.times):
        for name, (step, _) in ways.items():
            if name == "loop" and turn % 5:
                continue
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    print(f"{'':<8}{'ms, median':>11}{'ms, least':>11}{'images/s':>10}{'× book':>8}{'× eager':>9}")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(
            f"{name:<8}{1e3 * median[name]:>11.1f}{1e3 * min(values):>11.1f}"
            f"{words.batch / median[name]:>10,.0f}"
            f"{median['book'] / median[name]:>8.1f}{median['eager'] / median[name]:>9.2f}"
        )
    least = {name: min(values) for name, values in seconds.items()}
    print(
        f"ours, of the least times: {least['book'] / least['ours']:.1f} × book, "
        f"{least['book32'] / least['ours']:.1f} × book32, "
        f"{least['eager'] / least['ours']:.2f} × eager"
    )


if __name__ == "__main__":
    main()
