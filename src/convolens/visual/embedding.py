"""Pictures laid out so that those that a network finds alike are near to each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from convolens.data.base import Pictures
from convolens.errors import ConfigError, ShapeError
from convolens.visual.asked import asked
from convolens.visual.figure import Figure, Pixels
from convolens.visual.layers import found as found_in
from convolens.visual.layers import watched
from convolens.visual.panels import shown
from convolens.visual.style import (
    BLUE,
    BODY_PX,
    FRAME,
    GREEN,
    MARGIN_PX,
    PAPER,
    PURPLE,
    SMALL_PX,
    SOFT,
    VERMILLION,
    Colour,
)
from convolens.visual.text import class_labels, measure, shorten, write

Method = Literal["pca", "t-sne"]

# Okabe and Ito (2008), with two greys for a ninth and a tenth class.
_COLOURS: tuple[Colour, ...] = (
    *(BLUE, VERMILLION, GREEN, PURPLE, (230, 159, 0), (86, 180, 233), (0, 0, 0), (160, 140, 0)),
    *((120, 120, 120), (120, 60, 30)),
)
_SIDE_PX = 1000
_THUMBNAIL_PX = 32
_DOT_PX = 5
_LEGEND_PX = 220


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Pictures as points of a plane.

    Args:
        points: (N, 2).
        method: "pca" or "t-sne".
        kept: of PCA, the share of the variance that the two axes hold; of t-SNE None.
    """

    points: NDArray[np.float64]
    method: Method
    kept: float | None = None


def features_of(
    net: nn.Module,
    pictures: Pictures,
    prepare: Callable[[Tensor], Tensor],
    layer: str,
    *,
    batch: int = 64,
) -> NDArray[np.float32]:
    """What a layer gives for every picture; the network is left exactly as it was found.

    Args:
        pictures: uint8, of one size.
        prepare: makes them what the network reads, (B, C, H, W) on its device.
        layer: as `summarize` names it; `Layers.last_features` names the one to embed.
        batch: pictures that go through the network at once.
    Returns: (N, …).
    Raises:
        ConfigError: when there is no such layer.
    """
    parts = []
    with asked(net), torch.no_grad():
        for indices in torch.split(torch.arange(len(pictures)), batch):
            with watched(net, [layer]) as readings:
                net(prepare(pictures.batch(indices)))
            parts.append(found_in(readings, layer).value.float().cpu())
    values: NDArray[np.float32] = torch.cat(parts).numpy()
    return values


def embed(features: NDArray[np.floating], method: Method = "pca", *, seed: int = 0) -> Embedding:
    """Lays rows of numbers out in a plane, by scikit-learn.

    Source: van der Maaten and Hinton (2008), Visualizing data using t-SNE.
    Args:
        features: what a layer gives for each picture; more axes are flattened.
        method: "pca" keeps great distances and is linear; "t-sne" keeps neighbours together, and
            its distances between groups mean nothing.
        seed: of t-SNE.
    Shape: features (N, …) -> points (N, 2)
    Raises:
        ConfigError: when the method is neither.
        ShapeError: when there are fewer than 3 pictures or 2 numbers, or one is not finite.
    """
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    if flat.shape[0] < 3 or flat.shape[1] < 2 or not np.isfinite(flat).all():
        raise ShapeError(
            "an embedding needs at least 3 pictures with 2 finite numbers each, received "
            f"{flat.shape[0]} with {flat.shape[1]}, {int((~np.isfinite(flat)).sum())} not finite"
        )
    # scikit-learn takes 1.5 s to import, and few pictures need it.
    if method == "pca":
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, svd_solver="full").fit(flat)
        kept = float(pca.explained_variance_ratio_.sum())
        return Embedding(points=pca.transform(flat), method=method, kept=kept)
    if method != "t-sne":
        raise ConfigError(f"method must be pca or t-sne, received {method!r}")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(flat) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(flat)
    return Embedding(points=np.asarray(points, np.float64), method=method)


def embedding(
    found: Embedding,
    pictures: Pixels,
    labels: NDArray[np.integer],
    class_names: Sequence[str],
) -> Figure:
    """Draws a dot for each picture in its class's colour, and thumbnails where there is room.

    Args:
        pictures: uint8, grey or RGB.
        labels: true classes; the ten first classes have colours of their own.
    Shape: pictures (N, 1 or 3, H, W), labels (N,) -> pixels (h, w, 3)
    Raises:
        ShapeError: when there is not one picture and one label for each point.
    """
    count = len(found.points)
    if len(pictures) != count or labels.shape != (count,):
        raise ShapeError(
            f"{count} points need as many pictures and labels, received {len(pictures)} and "
            f"{labels.shape}"
        )
    low, high = found.points.min(0), found.points.max(0)
    room = _SIDE_PX - _THUMBNAIL_PX
    spread = np.where(high > low, high - low, 1.0)
    places = np.rint((found.points - low) / spread * room).astype(int) + _THUMBNAIL_PX // 2
    image = Image.new(
        "RGB", (_SIDE_PX + _LEGEND_PX + 2 * MARGIN_PX, _SIDE_PX + 2 * MARGIN_PX + 44), PAPER
    )
    number = _draw_points(image, places, pictures, labels)
    _draw_legend(image, sorted({int(label) for label in labels}), class_labels(class_names))
    name = "PCA" if found.method == "pca" else "t-SNE"
    write(image, (MARGIN_PX, MARGIN_PX), f"{name} of {count:,} pictures", size=BODY_PX, colour=SOFT)
    caption = (
        f"{name} of what the network makes of {count:,} pictures, {number} of them shown. Groups "
        "of one colour are classes that it tells apart; a picture among another colour is one that "
        "it takes for that class, or that is labelled wrongly."
    )
    if found.kept is not None:
        caption += f" The two axes hold {found.kept:.0%} of the variance."
    else:
        caption += " Neighbours are alike; distances between groups mean nothing."
    return Figure(name=f"embedding-{found.method}", caption=caption, pixels=np.asarray(image))


def _draw_points(
    image: Image.Image, places: NDArray[np.int_], pictures: Pixels, labels: NDArray[np.integer]
) -> int:
    """Draws the dots, and the thumbnails that overlap no other; returns how many these are."""
    draw = ImageDraw.Draw(image)
    left, top = MARGIN_PX, MARGIN_PX + 44
    draw.rectangle((left, top, left + _SIDE_PX, top + _SIDE_PX), outline=FRAME)
    for (x, y), label in zip(places.tolist(), labels.tolist(), strict=True):
        centre = (left + x, top + _SIDE_PX - y)
        box = (centre[0] - _DOT_PX, centre[1] - _DOT_PX, centre[0] + _DOT_PX, centre[1] + _DOT_PX)
        draw.ellipse(box, fill=_colour(label))
    taken: list[tuple[int, int]] = []
    half = _THUMBNAIL_PX // 2
    for index, (x, y) in enumerate(places.tolist()):
        if all(max(abs(x - a), abs(y - b)) > _THUMBNAIL_PX + 4 for a, b in taken):
            taken.append((x, y))
            thumbnail = _thumbnail(pictures[index])
            corner = (left + x - half, top + _SIDE_PX - y - half)
            image.paste(thumbnail, corner)
            end = (corner[0] + thumbnail.width + 2, corner[1] + thumbnail.height + 2)
            box = (corner[0] - 3, corner[1] - 3, *end)
            draw.rectangle(box, outline=_colour(labels[index]), width=3)
    return len(taken)


def _thumbnail(picture: Pixels) -> Image.Image:
    image = Image.fromarray(shown(picture, _THUMBNAIL_PX))
    longer = max(image.size)
    if longer <= _THUMBNAIL_PX:
        return image
    size = [max(1, round(side * _THUMBNAIL_PX / longer)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BOX)


def _draw_legend(image: Image.Image, classes: Sequence[int], labels: Sequence[str]) -> None:
    draw = ImageDraw.Draw(image)
    left, top = MARGIN_PX + _SIDE_PX + 28, MARGIN_PX + 60
    for row, label in enumerate(classes[: len(_COLOURS)]):
        y = top + row * 40
        draw.ellipse((left, y - 9, left + 18, y + 9), fill=_colour(label))
        name = shorten(labels[label], BODY_PX, _LEGEND_PX - 40)
        write(image, (left + 30, y), name, size=BODY_PX)
    if len(classes) > len(_COLOURS):
        y = top + len(_COLOURS) * 40
        words = f"and {len(classes) - len(_COLOURS)} more"
        if measure(words, SMALL_PX) < _LEGEND_PX:
            write(image, (left, y), words, size=SMALL_PX, colour=SOFT)


def _colour(label: int) -> Colour:
    return _COLOURS[int(label) % len(_COLOURS)]
