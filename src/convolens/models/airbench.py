"""Airbench94: the network that reaches 94 % on CIFAR-10 with the least arithmetic.

Source: Jordan (2024), 94% on CIFAR-10 in 3.29 seconds on a single GPU, arXiv:2404.00498.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.errors import ConfigError, ShapeError
from convolens.models.entry import ModelEntry, Published
from convolens.nn.scale import Scale

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
SMALLEST_SIDE = 9  # the first filters leave 8 px, and three halvings leave one
WHITENING_SIDE = 2
LEAST_VARIANCE = 5e-4  # added to the variances, so that directions without any are not blown up
WHITENING_PICTURES = 5000


class Airbench(nn.Sequential):
    """The layers of `airbench94`, whose first filters are computed from pictures."""

    whiten: nn.Conv2d

    @torch.no_grad()
    def initialize_from(self, pictures: Tensor) -> None:
        """Makes the first layer's filters whiten patches of these pictures.

        Args:
            pictures: some training pictures as the network reads them, without augmentation;
                the first 5,000 are used.
        Shape: pictures (N, in_channels, H, W)
        """
        self.whiten.weight.copy_(whitening_filters(pictures[:WHITENING_PICTURES], WHITENING_SIDE))


def airbench94(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    *,
    widths: Sequence[int] = (64, 256, 256),
    activation: Literal["gelu", "relu"] = "gelu",
    scale: float = 1 / 9,
) -> Airbench:
    """A whitening layer of 2×2 filters, three blocks of two 3×3 convolutions, one affine layer.

    A block is convolution, 2×2 max-pooling, batch norm, activation, convolution, batch norm,
    activation. The first filters of each convolution begin as the identity. The whitening
    filters are fixed: `Airbench.initialize_from` computes them from training pictures, and only
    their biases learn. Batch norm has a trainable shift and no trainable scale.

    Source: Jordan (2024), arXiv:2404.00498, sections 3.1 to 3.3 and listing 4.
    Args:
        num_classes: units of the last layer.
        in_channels: channels of the picture.
        image_size: side of the square picture [px]; at least 9.
        widths: filters of the convolutions of each of the three blocks.
        activation: "gelu" as in the paper, or "relu".
        scale: factor on the logits.
    Shape: x (N, in_channels, image_size, image_size) -> (N, num_classes)
    Returns: the network, which gives logits.
    Raises:
        ShapeError: when the picture is smaller than 9 px.
        ConfigError: when there are not three widths, or an activation is not known.
    Deviates: the last max-pooling takes the whole map, whatever the size of the picture; at
        32 px this is the paper's 3×3.
    Example:
        >>> sum(p.numel() for p in airbench94().parameters() if p.requires_grad)
        1971352
    """
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, received {activation!r}"
        )
    if len(widths) != 3 or min(widths) < 1:
        raise ConfigError(f"widths must be three numbers of at least 1, received {list(widths)}")
    if image_size < SMALLEST_SIDE:
        raise ShapeError(
            f"a picture of {image_size} px does not fit airbench94, whose 2×2 filters leave "
            f"{image_size - 1} px to halve three times: expected at least {SMALLEST_SIDE} px"
        )
    patch = in_channels * WHITENING_SIDE**2
    layers = OrderedDict[str, nn.Module](
        whiten=nn.Conv2d(in_channels, 2 * patch, WHITENING_SIDE), act=ACTIVATIONS[activation]()
    )
    layers["whiten"].weight.requires_grad_(False)
    filters = 2 * patch
    for number, width in enumerate(widths, start=1):
        layers[f"block{number}"] = _block(filters, width, activation)
        filters = width
    layers["pool"] = nn.AdaptiveMaxPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(filters, num_classes, bias=False)
    layers["scale"] = Scale(scale)
    return Airbench(layers)


def whitening_filters(pictures: Tensor, side: int) -> Tensor:
    """Filters whose responses to patches are uncorrelated, of equal variance; and their negatives.

    With the covariance Σ = V·diag(λ)·Vᵀ of all patches, filter i is v_i / √(λ_i + 0.0005), the
    largest variance first.

    Source: Jordan (2024), section 3.1; Page (2018), How to train your ResNet, part 8.
    Args:
        pictures: as the network reads them.
        side: k, side of a patch [px].
    Shape: pictures (N, C, H, W) -> (2·C·k², C, k, k)
    """
    channels = pictures.shape[1]
    size = channels * side**2
    # Patches are taken a few pictures at a time: all of them would be k² times the pictures.
    total = torch.zeros(size, dtype=torch.float64)
    products = torch.zeros(size, size, dtype=torch.float64)
    count = 0
    for some in torch.split(pictures, 500):
        patches = F.unfold(some.float(), side).transpose(0, 1).flatten(1)
        total += patches.sum(dim=1).double().cpu()
        products += (patches @ patches.T).double().cpu()
        count += patches.shape[1]
    mean = total / count
    variances, directions = torch.linalg.eigh(products / count - mean.outer(mean))
    filters = directions / (variances.clamp(min=0) + LEAST_VARIANCE).sqrt()
    filters = filters.T.flip(0).reshape(size, channels, side, side)
    return torch.cat([filters, -filters]).to(pictures)


def _block(in_channels: int, filters: int, activation: str) -> nn.Sequential:
    act = ACTIVATIONS[activation]
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=_conv(in_channels, filters),
            pool=nn.MaxPool2d(2),
            norm1=_norm(filters),
            act1=act(),
            conv2=_conv(filters, filters),
            norm2=_norm(filters),
            act2=act(),
        )
    )


def _conv(in_channels: int, filters: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, filters, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:in_channels])
    return conv


def _norm(filters: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


ENTRIES = (
    ModelEntry(
        builder=airbench94,
        input_size=(3, 32, 32),
        description="94 % on CIFAR-10 with the least arithmetic (Jordan 2024)",
        published=(
            Published(
                quantity="params",
                value=1_970_000,
                within=0.005,
                source="Jordan (2024), section 3.1: 1.97 million",
            ),
            Published(
                quantity="volume",
                layer="whiten",
                value=(24, 31, 31),
                source="Jordan (2024), listing 4: 24 filters of 2×2 without padding",
            ),
            Published(
                quantity="volume",
                layer="block3",
                value=(256, 3, 3),
                source="Jordan (2024), listing 4: three halvings before 3×3 max-pooling",
            ),
        ),
    ),
)
