"""Integrated gradients, with the error of their sum."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convolens.errors import ConfigError
from convolens.visual.asked import Target, ask, asked, own_input, score_of


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """What each pixel adds to a class's score over a baseline.

    Args:
        attributions: (N, C, H, W).
        classes: the class asked about, (N,).
        scores: the score of the picture, (N,).
        baseline_scores: the score of the baseline, (N,).
    """

    attributions: Tensor
    classes: Tensor
    scores: Tensor
    baseline_scores: Tensor

    @property
    def error(self) -> Tensor:
        """Σ attributions − (score − baseline's score), (N,): 0 for an exact integral."""
        total = self.attributions.double().flatten(1).sum(1)
        return total - (self.scores.double() - self.baseline_scores.double())

    @property
    def relative_error(self) -> Tensor:
        """|error| as a share of the difference between the scores, (N,)."""
        difference = (self.scores.double() - self.baseline_scores.double()).abs()
        return self.error.abs() / difference.clamp(min=1e-12)


def integrated_gradients(
    net: nn.Module,
    pictures: Tensor,
    target: Target = None,
    *,
    baseline: Tensor | float = 0.0,
    steps: int = 50,
    batch: int = 64,
) -> Integrated:
    """Gradients along the line from a baseline b to x: (x − b) · ∫₀¹ ∂s_c(b + α(x − b))/∂x dα.

    The integral is taken by Gauss-Legendre quadrature. The attributions then add up to the
    difference of the scores; what is missing is the completeness error, and more steps make it
    smaller. The network is left exactly as it was found.

    Source: Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks,
        arXiv:1703.01365, sections 3 and 5.
    Args:
        net, pictures, target: as for `gradient`.
        baseline: what stands for the absence of a picture, as the network reads it: a number, or
            a tensor that broadcasts to the pictures. 0 is the mean colour of most datasets.
        steps: points on the line.
        batch: the most pictures that go through the network at once.
    Shape: pictures (N, C, H, W) -> attributions (N, C, H, W)
    Raises:
        ConfigError: when `steps` or `batch` is less than 1, or there is no such class.
    """
    if steps < 1 or batch < 1:
        raise ConfigError(f"steps and batch must be at least 1, received {steps} and {batch}")
    start = torch.as_tensor(baseline, dtype=pictures.dtype, device=pictures.device)
    start = start.expand_as(pictures)
    classes, scores = ask(net, pictures, target)
    _, baseline_scores = ask(net, start, classes)
    points, weights = np.polynomial.legendre.leggauss(steps)
    # One row for each point of each picture, in parts that fit into memory.
    rows = [(step, n) for step in range(steps) for n in range(len(pictures))]
    with asked(net):
        total = torch.zeros_like(pictures, dtype=torch.float64)
        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            which = torch.tensor([n for _, n in part], device=pictures.device)
            along = pictures.new_tensor([(1 + points[s]) / 2 for s, _ in part]).view(-1, 1, 1, 1)
            share = total.new_tensor([weights[s] / 2 for s, _ in part]).view(-1, 1, 1, 1)
            x = own_input(start[which] + along * (pictures[which] - start[which]))
            score = score_of(net(x.clone()), classes[which]).sum()
            if score.requires_grad:
                (slope,) = torch.autograd.grad(score, x, allow_unused=True)
                if slope is not None:
                    total.index_add_(0, which, share * slope.double())
    return Integrated(
        attributions=((pictures - start) * total).to(pictures.dtype),
        classes=classes,
        scores=scores,
        baseline_scores=baseline_scores,
    )
