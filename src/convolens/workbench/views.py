"""Averaging probabilities: over views of one picture, and over networks."""

from collections.abc import Iterator, Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convolens.train.bounds import check_word
from convolens.train.config import Tta

SCALES = (0.75, 1.0, 1.25, 1.5)
ENLARGED = 8 / 7  # 256 px for crops of 224, as Krizhevsky et al. took them


def with_views(network: nn.Module, tta: Tta) -> nn.Module:
    """A network that averages its probabilities over views of each picture.

    Source: Krizhevsky, Sutskever and Hinton (2012), section 4.1, for the ten crops; Jordan
        (2024), arXiv:2404.00498, section 3.5, for the shifts; Chen et al. (2017),
        arXiv:1706.05587, section 4, for the scales.
    Args:
        network: gives logits (N, K); where it gives them for every pixel, (N, K, H, W), only
            "flip" and "scales" make sense.
        tta: "none" gives the network itself; "flip" takes the picture and its mirror image;
            "shifts" takes these, and both moved by one pixel to either end of a diagonal, which
            together weigh as much as the unmoved; "crops" takes the four corners and the centre,
            of the network's own size, of the picture enlarged by 8/7, and the mirror images of
            these five; "scales" takes the picture 0.75, 1, 1.25 and 1.5 times as large, and the
            mirror images of these four.
    Returns: a network that gives the logarithms of the mean probabilities (N, K), or (N, K, H, W)
        where the network gives logits for every pixel.
    Raises:
        ConfigError: when `tta` is none of these words.
    Deviates: the paper crops pictures of 256 px, ours are enlarged from the size that the
        network takes, so that any picture can be cropped. Jordan averages logits. Chen et al. take
        six scales from 0.5 to 1.75.
    """
    check_word("tta", tta, get_args(Tta))
    return network if tta == "none" else _Views(network, tta)


class _Views(nn.Module):
    def __init__(self, network: nn.Module, tta: Tta) -> None:
        super().__init__()
        self.network = network
        self.tta = tta

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for view in self._views(x):
            outputs.append(self.network(view))
            mirrored = self.network(view.flip(3))
            outputs.append(mirrored.flip(3) if mirrored.ndim == 4 else mirrored)
        if self.tta == "scales":
            outputs = [resized(output, x.shape[2:]) for output in outputs]
        if self.tta == "shifts":
            outputs += outputs[:2]  # the unmoved count twice
        return mean_log_probability(outputs)

    def _views(self, x: Tensor) -> Iterator[Tensor]:
        """One after the other, since the larger ones need much memory."""
        if self.tta == "crops":
            yield from five_crops(x)
        elif self.tta == "scales":
            height, width = x.shape[2:]
            for scale in SCALES:
                yield resized(x, (max(1, round(height * scale)), max(1, round(width * scale))))
        else:
            yield x
        if self.tta == "shifts":
            yield from diagonal_shifts(x)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolates bilinearly; a volume that has the size already is returned as it is.

    Shape: x (N, C, H, W) -> (N, C, *size)
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def five_crops(x: Tensor) -> list[Tensor]:
    """Corners and centre of the picture enlarged by 8/7.

    Shape: x (N, C, H, W) -> five of (N, C, H, W)
    """
    height, width = x.shape[2:]
    size = (round(height * ENLARGED), round(width * ENLARGED))
    large = resized(x, size)
    down, right = size[0] - height, size[1] - width
    corners = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    return [large[:, :, top : top + height, left : left + width] for top, left in corners]


def diagonal_shifts(x: Tensor) -> list[Tensor]:
    """The picture one pixel further down and right, and further up and left, mirrored at the edge.

    Shape: x (N, C, H, W) -> two of (N, C, H, W)
    """
    height, width = x.shape[2:]
    mode = "reflect" if min(height, width) > 1 else "replicate"  # one pixel mirrors nothing
    padded = F.pad(x, (1, 1, 1, 1), mode=mode)
    return [padded[:, :, at : at + height, at : at + width] for at in (0, 2)]


def mean_log_probability(outputs: Sequence[Tensor]) -> Tensor:
    """log((p_1 + … + p_M) / M), where p_m is the softmax of the m-th logits.

    A softmax of the result gives the mean probabilities, so it serves wherever logits do.

    Shape: M of (N, K) -> (N, K)
    Example:
        >>> logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 100.0]])]
        >>> mean_log_probability(logits).exp()
        tensor([[0.2500, 0.7500]])
    """
    logs = torch.stack([output.float().log_softmax(dim=1) for output in outputs])
    return logs.logsumexp(dim=0) - torch.log(torch.tensor(float(len(outputs))))
