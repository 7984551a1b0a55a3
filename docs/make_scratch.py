"""Makes the pictures and the tables of docs/scratch.md: `python docs/make_scratch.py`.

Every number that the page gives in a table comes from here, and a test makes them anew.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from convolens.data.digits import load_digits
from convolens.data.picture import PictureFormat
from convolens.scratch.activations import ReLU, Sigmoid
from convolens.scratch.im2col import im2col
from convolens.scratch.initial import Initial, gaussian, he, xavier
from convolens.scratch.layer import Array, Layer
from convolens.scratch.network import Network
from convolens.scratch.networks import simple_convnet
from convolens.scratch.optimizers import SGD, AdaGrad, Adam, Momentum, Optimizer, RMSprop
from convolens.scratch.trainer import Trainer
from convolens.visual import (
    Figure,
    MapRow,
    column_matrix,
    descent,
    histograms,
    png_bytes,
    signed_maps,
    sliding_window,
)

PAGE = Path(__file__).parent / "scratch.md"
IMAGES = Path(__file__).parent / "images" / "scratch"

# The worked example: a picture of 4×4 and a filter of 3×3.
PICTURE = np.array([[1, 2, 3, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 3, 0, 1]])
FILTER = np.array([[2, 0, 1], [0, 1, 2], [1, 0, 2]])
DIGIT = 4  # which picture of the batch is looked at: a two
MAPS = [0, 7, 9, 10, 12, 15]  # six of the 30, whose filters become different ones

# Surfaces with their gradients, and where the walk begins.
BEGIN = (-7.0, 2.0)
SADDLE_BEGIN = (-1.5, 0.01)
OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "SGD": lambda: SGD(lr=0.95),
    "momentum": lambda: Momentum(lr=0.1),
    "AdaGrad": lambda: AdaGrad(lr=1.5),
    "RMSprop": lambda: RMSprop(lr=0.3, decay=0.9),
    "Adam": lambda: Adam(lr=0.3),
}
SADDLE_OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "SGD": lambda: SGD(lr=0.1),
    "momentum": lambda: Momentum(lr=0.1),
    "AdaGrad": lambda: AdaGrad(lr=0.1),
    "RMSprop": lambda: RMSprop(lr=0.1, decay=0.9),
    "Adam": lambda: Adam(lr=0.1),
}


def bowl(x: Array, y: Array) -> Array:
    """x²/20 + y²: twenty times as steep across as along."""
    return np.asarray(x**2 / 20 + y**2)


def bowl_gradient(p: Array) -> Array:
    return np.array([p[0] / 10, 2 * p[1]])


def saddle(x: Array, y: Array) -> Array:
    """x²/2 − y²/2 + y⁴/4: flat at (0, 0), with a valley on either side, at y = ±1."""
    return np.asarray(x**2 / 2 - y**2 / 2 + y**4 / 4)


def saddle_gradient(p: Array) -> Array:
    return np.array([p[0], -p[1] + p[1] ** 3])


def walk(
    optimizer: Optimizer,
    gradient: Callable[[Array], Array],
    begin: tuple[float, float],
    steps: int,
    noise: float = 0.0,
) -> Array:
    """The points that an optimizer passes. Shape: -> (steps + 1, 2)"""
    rng = np.random.default_rng(0)
    p = np.array(begin)
    path = [p.copy()]
    for _ in range(steps):
        optimizer.update({"p": p}, {"p": gradient(p) + noise * rng.standard_normal(2)})
        path.append(p.copy())
    return np.array(path)


def walks() -> dict[str, dict[str, Array]]:
    """The paths of all optimizers, for each part of the gallery."""
    return {
        "bowl": {k: walk(o(), bowl_gradient, BEGIN, 30) for k, o in OPTIMIZERS.items()},
        "saddle": {
            k: walk(o(), saddle_gradient, SADDLE_BEGIN, 60) for k, o in SADDLE_OPTIMIZERS.items()
        },
        "noise": {k: walk(o(), bowl_gradient, BEGIN, 100, 1.0) for k, o in OPTIMIZERS.items()},
    }


def digits() -> tuple[Array, Array]:
    """The training pictures of the bundled digits at 28×28, from 0 to 1, and their labels."""
    split = load_digits(
        format=PictureFormat(channels=1, size=(28, 28), fit="pad", background=0)
    ).train
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(split)))
    pixels, labels = split.pictures.batch(order), torch.as_tensor(split.targets["label"])[order]
    return pixels.numpy() / 255.0, labels.numpy()


def passes(net: Network, x: Array, t: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """What each layer gives forward, and what reaches its output going back."""
    forward: dict[str, Array] = {}
    out = x
    for name, layer in net.layers.items():
        out = layer.forward(out, training=True)
        forward[name] = out
    net.last.forward(out, t)
    backward: dict[str, Array] = {}
    dout = net.last.backward()
    for name, layer in reversed(net.layers.items()):
        backward[name] = dout
        dout = layer.backward(dout)
    backward["x"] = dout
    return forward, backward


def activations(initial: Initial, layer: type[Layer]) -> list[Array]:
    """What comes out of each of five layers of 100 units for 1,000 inputs of normal numbers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 100))
    out = []
    for _ in range(5):
        x = layer().forward(x @ initial(rng, (100, 100), 100, 100))
        out.append(x)
    return out


def spreads() -> tuple[dict[str, list[Array]], dict[str, list[Array]]]:
    """The activations of sigmoid and of ReLU networks, by how their weights were drawn."""
    small = {"std 0.01": gaussian(0.01), "Xavier": xavier}
    return (
        {name: activations(i, Sigmoid) for name, i in {"std 1": gaussian(1.0), **small}.items()},
        {name: activations(i, ReLU) for name, i in {**small, "He": he}.items()},
    )


def first_step() -> tuple[Network, dict[str, Array], dict[str, Array], Array, Array]:
    """A fresh network, one pass forward and back over 100 digits, and the digits."""
    x, t = digits()
    net = simple_convnet(seed=0, dtype=np.float64)
    forward, backward = passes(net, x[:100], t[:100])
    return net, forward, backward, x[:100], t[:100]


def shape_table() -> list[str]:
    net, forward, _, x, _ = first_step()
    rows = [("x", x.shape, 0)]
    for name, layer in net.layers.items():
        rows.append((name, forward[name].shape, sum(p.size for p in layer.params.values())))
    total = sum(params for _, _, params in rows)
    return [
        "| layer | output | parameters |",
        "|---|---|---|",
        *(f"| {n} | {' × '.join(map(str, s))} | {p:,} |" for n, s, p in rows),
        f"| all | | {total:,} |",
    ]


def gradient_table() -> list[str]:
    net, _, backward, x, t = first_step()
    before = {name: value.copy() for name, value in net.params.items()}
    gradients = net.gradient(x, t)
    losses = [net.loss(x, t)]
    Adam(lr=0.001).update(net.params, gradients)
    losses.append(net.loss(x, t))
    rows = [
        f"| {name} | {np.abs(w).max():.2g} | {np.abs(gradients[name]).max():.2g} "
        f"| {np.abs(net.params[name] - w).max():.2g} |"
        for name, w in before.items()
    ]
    places = backward["relu1"][DIGIT]
    return [
        "| parameter | largest size | largest gradient | largest step |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Loss of the batch before the step {losses[0]:.4f}, after it {losses[1]:.4f}. "
        f"Of the {places.size:,} numbers of the digit's feature maps "
        f"{np.count_nonzero(places):,} received a gradient from the pooling layer, and "
        f"{np.count_nonzero(backward['conv1'][DIGIT]):,} of them passed the ReLU.",
    ]


def gallery_table() -> list[str]:
    paths = walks()
    bowl_ends = {k: bowl(*p[-1]) for k, p in paths["bowl"].items()}
    away = {k: np.flatnonzero(np.abs(p[:, 1]) > 0.5) for k, p in paths["saddle"].items()}
    escape = {k: str(steps[0]) if steps.size else "not in 60" for k, steps in away.items()}
    saddle_ends = {k: saddle(*p[-1]) for k, p in paths["saddle"].items()}
    floor = {k: bowl(*p[-50:].T).mean() for k, p in paths["noise"].items()}
    rows = [
        f"| {k} | {bowl_ends[k]:.2g} | {escape[k]} | {saddle_ends[k]:.3f} | {floor[k]:.2g} |"
        for k in OPTIMIZERS
    ]
    return [
        "| optimizer | bowl: loss after 30 steps | saddle: steps until it is left "
        "| saddle: loss after 60 steps | noise: mean loss of the last 50 steps |",
        "|---|---|---|---|---|",
        *rows,
    ]


def initial_table() -> list[str]:
    rows = []
    for function, networks in zip(("sigmoid", "ReLU"), spreads(), strict=True):
        for name, layers in networks.items():
            stds = " | ".join(f"{values.std():.2g}" for values in layers)
            rows.append(f"| {function}, {name} | {stds} |")
    return ["| network | layer 1 | 2 | 3 | 4 | 5 |", "|---|---|---|---|---|---|", *rows]


TABLES: dict[str, Callable[[], list[str]]] = {
    "shapes": shape_table,
    "gradients": gradient_table,
    "gallery": gallery_table,
    "initial": initial_table,
}


def with_tables(page: str) -> str:
    """The page with every table made anew between its two marks."""
    for name, table in TABLES.items():
        lines = "\n".join(table()) + "\n"
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = mark.subn(lambda m, lines=lines: m[1] + lines + m[2], page)
        if found != 1:
            raise ValueError(f"the page needs one table '{name}', it has {found}")
    return page


def maps_of(arrays: dict[str, Array], titles: dict[str, str]) -> list[MapRow]:
    """A row for each title: six maps of one digit, or the digit itself."""
    rows = []
    for name, title in titles.items():
        maps = arrays[name][DIGIT]
        rows.append(MapRow(title=title, values=maps[MAPS] if len(maps) > 1 else maps))
    return rows


def pass_figures() -> dict[str, Figure]:
    net, forward, backward, x, t = first_step()
    ahead = {"x": "the digit", "conv1": "after conv1", "relu1": "after relu1"}
    back = {name: f"dL/dy of {name}" for name in ("pool1", "relu1", "conv1")}
    before = net.params["conv1.W"].copy()
    Adam(lr=0.001).update(net.params, net.gradient(x, t))
    step = net.params["conv1.W"] - before
    rows = {"W before": before, "dL/dW": net.chain.grads["conv1.W"], "the step of Adam": step}
    return {
        "forward": signed_maps(maps_of({"x": x, **forward}, {**ahead, "pool1": "after pool1"})),
        "backward": signed_maps(maps_of(backward, {**back, "x": "dL/dx of the digit"})),
        "update": signed_maps([MapRow(title=k, values=w[MAPS, 0]) for k, w in rows.items()]),
        "trained": trained_figure(x, t),
    }


def trained_figure(x: Array, t: Array) -> Figure:
    """What the pictures of the first step have become after five epochs."""
    net = simple_convnet(seed=0, dtype=np.float64)
    Trainer(net, Adam(lr=0.001), epochs=5).fit(*digits())
    forward, backward = passes(net, x, t)
    W = net.params["conv1.W"][MAPS, 0]
    return signed_maps(
        [
            MapRow(title="filters", values=W),
            *maps_of(forward, {"relu1": "after relu1"}),
            *maps_of(backward, {"pool1": "dL/dy of pool1", "x": "dL/dx of the digit"}),
        ]
    )


def figures() -> dict[str, Figure]:
    """Every picture of the page by the name of its file."""
    paths = walks()
    sigmoid, relu = spreads()
    numbers = np.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    wide = {"x_range": (-8.0, 8.0), "y_range": (-3.0, 3.0)}
    return {
        "window": sliding_window(PICTURE, FILTER),
        "columns": column_matrix(4, 4, im2col(numbers, (3, 3))[0].astype(int)),
        "bowl": descent(bowl, paths["bowl"], **wide, heading="the bowl, 30 steps"),
        "saddle": descent(
            saddle,
            paths["saddle"],
            x_range=(-2.0, 2.0),
            y_range=(-1.5, 1.5),
            heading="the saddle, 60 steps",
        ),
        "noise": descent(bowl, paths["noise"], **wide, heading="the bowl with noise, 100 steps"),
        "initial-sigmoid": histograms(sigmoid, low=0.0, high=1.0),
        "initial-relu": histograms(relu, low=0.0, high=3.0),
        **pass_figures(),
    }


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, figure in figures().items():
        (IMAGES / f"{name}.png").write_bytes(png_bytes(figure))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
