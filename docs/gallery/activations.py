"""Activations and their gradients."""

import numpy as np
import torch
from gallery.story import (
    PLAIN_PICTURES,
    SEEDS,
    Numbers,
    Story,
    chart,
    panel,
    percents,
    repeat,
    rounded,
    spread,
    table,
    workplace,
)
from torch import Tensor, nn

import convolens as cl
from convolens.models.notation import build
from convolens.nn.maxout import Maxout
from convolens.visual import Figure
from convolens.visual.axis import Axis, axis_over
from convolens.visual.chart import Panel

# What stands behind `fc 64` in each network; maxout takes the larger of two pieces.
ACTIVATIONS = {
    "sigmoid": "fc 64 | sigmoid",
    "tanh": "fc 64 | tanh",
    "relu": "fc 64 | relu",
    "leaky relu": "fc 64 | leakyrelu",
    "elu": "fc 64 | elu",
    "gelu": "fc 64 | gelu",
    "maxout": "fc 128 | maxout 2",
}
FUNCTIONS = {
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "leaky relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
}
NUM_LAYERS = 20
FLAT = 0.05  # a slope below it counts as saturated
TRAINED_LAYERS = 10
EPOCHS = 20
SETTINGS = (
    "data.image_size=8",
    "data.val_fraction=0",
    "batch_size=32",
    "optimizer.name=momentum",
    "optimizer.lr=0.01",
    "schedule.name=constant",
    *PLAIN_PICTURES,
)


def net(name: str, num_layers: int) -> str:
    return f"1x8x8 | flatten | [{ACTIVATIONS[name]}]*{num_layers} | fc 10"


def tell(quick: bool) -> Story:
    """Measures what comes back through twenty layers, and trains networks of ten."""
    numbers: Numbers = {}
    with workplace() as folder:
        pictures, labels = digits(folder)
        for name in ACTIVATIONS:
            measured = [gradients(name, pictures, labels, seed) for seed in SEEDS]
            numbers[name] = {
                "sizes": [rounded(v) for v in geometric_mean([sizes for sizes, _ in measured])],
                "arriving": [rounded(sizes[0] / sizes[-1]) for sizes, _ in measured],
                "flat": [rounded(flat) for _, flat in measured],
                "trained": repeat(
                    folder,
                    "digits",
                    net(name, TRAINED_LAYERS),
                    epochs=1 if quick else EPOCHS,
                    seeds=SEEDS[:1] if quick else SEEDS,
                    settings=SETTINGS,
                )
                if name == "sigmoid" or not quick
                else {"accuracies": [], "train_loss": []},
            }
    figures = {"activations": functions_figure(), "activations-gradient": figure(numbers)}
    return Story(numbers=numbers, figures=figures)


def digits(folder: object) -> tuple[Tensor, Tensor]:
    """The test digits, their pixels with mean 0 and standard deviation 1."""
    split = cl.load_dataset("digits", root=folder, image_size=8).test
    pixels = split.pictures.batch(torch.arange(len(split))).double()
    return (pixels - pixels.mean()) / pixels.std(), torch.as_tensor(split.targets["label"])


def gradients(name: str, pictures: Tensor, labels: Tensor, seed: int) -> tuple[list[float], float]:
    """The length of the loss's gradient at the output of each layer, and the share of flat slopes.

    Shape: pictures (N, 1, 8, 8), labels (N,)
    """
    torch.manual_seed(seed)
    net_ = build(net(name, NUM_LAYERS)).double()
    outputs: list[Tensor] = []
    flat: list[Tensor] = []

    def watch(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)
        if not isinstance(module, Maxout):  # the larger piece has the slope 1
            flat.append((slope(module, given[0]).abs() < FLAT).double().mean())
        else:
            flat.append(torch.zeros(()))

    kind = type(build(f"4 | {ACTIVATIONS[name]}")[-1])
    for module in net_.modules():
        if isinstance(module, kind):
            module.register_forward_hook(watch)
    torch.autograd.backward(nn.functional.cross_entropy(net_(pictures), labels))
    sizes = [float(one.grad.norm()) for one in outputs if one.grad is not None]
    return sizes, float(torch.stack(flat).mean())


def slope(function: nn.Module, x: Tensor) -> Tensor:
    """f′(x) of a function that acts on each number by itself."""
    at = x.detach().clone().requires_grad_()
    # `forward`, since a call would come to the watching hook again.
    (found,) = torch.autograd.grad(function.forward(at).sum(), at)
    return found


def geometric_mean(rows: list[list[float]]) -> list[float]:
    return [float(v) for v in np.exp(np.log(np.array(rows)).mean(axis=0))]


def functions_figure() -> Figure:
    """f and f′ from −4 to 4; maxout is whatever its pieces are, here one example."""
    x = torch.linspace(-4, 4, 161, dtype=torch.float64)
    pieces = torch.stack([-0.5 * x - 0.5, 0.25 * x, x - 1.0])
    values = {name: function(x) for name, function in FUNCTIONS.items()}
    slopes = {name: slope(function, x) for name, function in FUNCTIONS.items()}
    values["maxout"] = pieces.amax(0)
    slopes["maxout"] = torch.tensor([-0.5, 0.25, 1.0]).double()[pieces.argmax(0)]
    panels: list[Panel] = []
    for curves, axis in (
        (values, Axis(low=-1.6, high=4.0)),
        (slopes, Axis(low=-0.7, high=1.3)),
    ):
        for names in (("sigmoid", "tanh", "relu"), ("leaky relu", "elu", "gelu", "maxout")):
            chosen = {name: curves[name].clamp(axis.low, axis.high).tolist() for name in names}
            panels.append(panel("", "x", x.tolist(), chosen, y=axis, width_px=520))
    halves = [
        chart("", "", panels[start : start + 2], heading).pixels
        for start, heading in ((0, "the function f(x)"), (2, "its slope f'(x)"))
    ]
    width = max(half.shape[1] for half in halves)
    pixels = np.concatenate(
        [
            np.pad(half, ((0, 0), (0, width - half.shape[1]), (0, 0)), constant_values=255)
            for half in halves
        ]
    )
    return Figure(name="activations", caption="Activations and their slopes.", pixels=pixels)


def figure(numbers: Numbers) -> Figure:
    """The gradient at each layer as a share of that at the last one, on a log scale."""
    layers = range(1, NUM_LAYERS + 1)
    shares = {
        name: [size / found["sizes"][-1] for size in found["sizes"]]
        for name, found in numbers.items()
    }
    seen = [v for curve in shares.values() for v in curve]
    drawn = panel(
        "",
        "layer",
        layers,
        shares,
        y=axis_over(seen, log=True),
        whole_x=True,
        width_px=1150,
    )
    caption = "The gradient at the output of each of 20 layers, as a share of that at the last one."
    return chart("activations-gradient", caption, [drawn], "gradient, share of the last layer's")


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = []
    for name, found in numbers.items():
        trained = found["trained"]
        loss, accuracy = "not finite", "broke off"
        if None not in trained["accuracies"]:
            loss = spread([curve[-1] for curve in trained["train_loss"]])
            accuracy = percents(trained["accuracies"])
        rows.append(
            (
                name,
                percents(found["flat"]),
                spread(found["arriving"], ".0f" if min(found["arriving"]) > 100 else ".2g"),
                loss,
                accuracy,
            )
        )
    head = ("activation", f"slopes below {FLAT:g}", "gradient that arrives")
    return {"activations": table((*head, "training loss at the end", "test accuracy"), rows)}
