"""What the first layer learns."""

import numpy as np
import torch
from gallery.story import PLAIN_PICTURES, Numbers, Story, rounded, table, train, workplace
from numpy.typing import NDArray
from torch import nn

import convolens as cl
from convolens.data.base import Split
from convolens.visual import Figure, Pixels, filters
from convolens.visual.templates import linear_classifier, templates
from convolens.workbench.network import build_network
from convolens.workbench.run import Run

Weights = NDArray[np.float32]

SIDE_PX = 28
EPOCHS = 20
# SimpleConvNet begins with weights so small that what is seen afterwards has been learnt. The other
# network has batch norm, so that weight decay can take the beginning away and change no output.
NETS = {
    "digits": ("digits", "simple_convnet"),
    "shapes": (
        "shapes",
        "3x32x32 | conv 16 7x7 p3 nobias | bn | relu | maxpool "
        "| conv 32 3x3 p1 nobias | bn | relu | maxpool "
        "| conv 32 3x3 p1 nobias | bn | relu | gmp | fc 8",
    ),
}
SETTINGS = {
    "digits": (
        f"data.image_size={SIDE_PX}",
        "model.num_filters=16",
        "model.filter_size=7",
        "optimizer.lr=0.003",
        "optimizer.weight_decay=0.05",
    ),
    "shapes": ("data.image_size=32", "optimizer.lr=0.01", "optimizer.weight_decay=0.5"),
}
COMMON = (*PLAIN_PICTURES, "augment.shift=0.1", "batch_size=64", "loss.label_smoothing=0")


def tell(quick: bool) -> Story:
    """Trains a ConvNet on digits and one on colour pictures, and fits a linear classifier."""
    with workplace() as folder:
        runs = {
            name: train(
                folder,
                data,
                net,
                epochs=1 if quick else EPOCHS,
                settings=(*COMMON, *SETTINGS[name], *(("data.image_size=16",) if quick else ())),
            )
            for name, (data, net) in NETS.items()
        }
        weights = {name: kernels(run) for name, run in runs.items()}
        numbers: Numbers = {
            "accuracies": {n: rounded(r.test["metrics"]["accuracy"]) for n, r in runs.items()},
            "filters": {name: facts(*pair) for name, pair in weights.items()},
        }
        dataset = cl.load_dataset("digits", root=folder, image_size=SIDE_PX)
    (x, labels), test = arrays(dataset.train), arrays(dataset.test)
    linear = linear_classifier(x, labels, 10)
    scores = (test[0] / 255 - x.mean(0) / 255).reshape(len(test[0]), -1) @ linear.reshape(10, -1).T
    numbers["accuracies"]["linear"] = rounded(float((scores.argmax(1) == test[1]).mean()))
    figures: dict[str, Figure] = {
        f"first-layer-{name}": filters(*pair) for name, pair in weights.items()
    }
    sets = {"linear classifier": linear, "ConvNet": weights["digits"][1]}
    return Story(numbers=numbers, figures={**figures, "first-layer-templates": templates(sets)})


def arrays(split: Split) -> tuple[Pixels, NDArray[np.int64]]:
    """Shape: -> (N, C, H, W), (N,)"""
    pixels = split.pictures.batch(torch.arange(len(split)))
    return pixels.numpy(), torch.as_tensor(split.targets["label"]).numpy()


def kernels(run: Run) -> tuple[Weights, Weights]:
    """The first layer's kernels before and after training; the seed gives those before again."""
    torch.manual_seed(run.config.seed)
    before = build_network(
        run.config.model.name,
        run.config.model.options,
        num_classes=len(run.task.class_names),
        input_size=(run.format.channels, *run.format.size),
    )
    return kernels_of(before), kernels_of(run.network())


def kernels_of(net: nn.Module) -> Weights:
    """Shape: -> (O, I, K, K)"""
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    kernel: Weights = first.weight.detach().numpy().copy()
    return kernel


def facts(before: Weights, after: Weights) -> Numbers:
    """How far the kernels moved, how large they are, and how alike neighbouring weights are."""
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    return {
        "moved": rounded(float(moved)),
        "largest": [rounded(float(np.abs(w).max())) for w in (before, after)],
        "alike": [rounded(neighbours(w)) for w in (before, after)],
    }


def neighbours(kernels: Weights) -> float:
    """The correlation of a weight with the one at its right or below it: 0 for noise.

    Shape: kernels (O, I, K, K)
    """
    w = kernels - kernels.mean(axis=(2, 3), keepdims=True)
    one = np.concatenate([w[..., :-1].ravel(), w[..., :-1, :].ravel()])
    other = np.concatenate([w[..., 1:].ravel(), w[..., 1:, :].ravel()])
    return float(np.corrcoef(one, other)[0, 1])


def lines(numbers: Numbers) -> dict[str, list[str]]:
    rows = [
        (
            name,
            f"{found['moved']:.2f}",
            " → ".join(f"{v:.2f}" for v in found["largest"]),
            " → ".join(f"{v:.2f}" for v in found["alike"]).replace("-", "−"),
        )
        for name, found in numbers["filters"].items()
    ]
    named = {"digits": "ConvNet on digits", "linear": "linear classifier on digits"}
    named["shapes"] = "ConvNet on shapes"
    accuracies = [
        (named[name], f"{value:.1%}".replace("%", " %"))
        for name, value in numbers["accuracies"].items()
    ]
    head = ("filters of", "way, in lengths of the beginning", "largest weight")
    return {
        "filters": table((*head, "correlation of neighbours"), rows),
        "accuracies": table(("network", "test accuracy"), accuracies),
    }
