"""Images per second of every detector: ours, from R-CNN to YOLO, beside torchvision's.

One picture of 320×320 px at a time, from normalised pixels to boxes after suppression, in eager
float32. The arms take turns within one process, so that what disturbs the machine disturbs all;
the table shows medians, and their ratio to torchvision's ssdlite320_mobilenet_v3_large.

    python benchmarks/detect.py [--rounds 9] [--threads N] [--proposals 2000] [--quick]

Every network is built for 20 classes with weights drawn anew, and detections need a score of 0.05,
torchvision's own bound for most of its detectors; so what suppression costs is next to nothing in
all arms. Proposals of selective search are found once and timed by themselves: R-CNN and Fast R-CNN
need them for every new picture. Torchvision's detectors are called as its users call them, with
their resizing set to 320 px. Multiply-accumulates are counted by `summarize`, regions included.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convolens.analysis.summarize import summarize
from convolens.data.selective_search import proposals_of
from convolens.models import fast_rcnn, faster_rcnn, rcnn, yolo, yolo_v1

SIDE, CLASSES, SCORE = 320, 20, 0.05
REFERENCE = "ssdlite320_mobilenet_v3_large"
TORCHVISION = (
    REFERENCE,
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
)


class Whole(nn.Module):
    """A detector of ours with all that comes after its forward pass."""

    def __init__(self, network: nn.Module, proposals: Tensor | None = None) -> None:
        super().__init__()
        self.network, self.proposals = network, proposals

    def forward(self, x: Tensor) -> Tensor:
        given = {} if self.proposals is None else {"proposals": self.proposals}
        found: Tensor = self.network(x).detections(score=SCORE, iou=0.5, most=100, **given)
        return found


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What takes turns.

    Args:
        name: in the table.
        run: one picture.
        params: of the network; None where there is none.
        macs: of one picture.
    """

    name: str
    run: Callable[[], object]
    params: int | None = None
    macs: int | None = None


def picture(generator: np.random.Generator) -> Tensor:
    """Thirty filled rectangles on a gradient, with a little noise: uint8 (1, 3, 320, 320)."""
    pixels = np.linspace(40, 200, SIDE)[None, :, None] * np.ones((SIDE, 1, 3))
    for _ in range(30):
        top, left = generator.integers(0, SIDE - 20, 2)
        height, width = generator.integers(15, 110, 2)
        pixels[top : top + height, left : left + width] = generator.integers(0, 256, 3)
    pixels += generator.normal(0, 4, pixels.shape)
    rgb = pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(rgb))[None]


def our_arms(x: Tensor, proposals: Tensor) -> list[Arm]:
    networks = {
        f"rcnn, {proposals.shape[1]} proposals": Whole(rcnn(CLASSES, 3, SIDE), proposals),
        f"fast_rcnn, {proposals.shape[1]} proposals": Whole(fast_rcnn(CLASSES, 3, SIDE), proposals),
        "faster_rcnn": Whole(faster_rcnn(CLASSES, 3, SIDE)),
        "faster_rcnn pyramid=true": Whole(faster_rcnn(CLASSES, 3, SIDE, pyramid=True)),
        "yolo_v1 variant=tiny": Whole(yolo_v1(CLASSES, 3, SIDE, variant="tiny")),
        "yolo": Whole(yolo(CLASSES, 3, SIDE)),
    }
    return [arm_of(name, net, x) for name, net in networks.items()]


def torchvision_arms(x: Tensor) -> list[Arm]:
    from torchvision import models

    arms = []
    for name in TORCHVISION:
        options: dict[str, Any] = {} if "ssd" in name else {"min_size": SIDE, "max_size": SIDE}
        net = models.get_model(
            name, weights=None, weights_backbone=None, num_classes=CLASSES + 1, **options
        )
        arms.append(arm_of(f"torchvision {name}", net, [x[0]]))
    return arms


def arm_of(name: str, net: nn.Module, given: Any) -> Arm:
    net.eval()
    totals = summarize(net, inputs=(given,)).totals
    return Arm(name=name, run=lambda: net(given), params=totals.params, macs=totals.macs)


def measure(arms: list[Arm], rounds: int) -> dict[str, float]:
    """Median seconds of each arm."""
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    with torch.inference_mode():
        for turn in range(rounds + 1):  # the first warms up
            for arm in arms:
                began = time.perf_counter()
                arm.run()
                if turn:
                    seconds[arm.name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--proposals", type=int, default=2000, help="at most")
    parser.add_argument("--quick", action="store_true", help="two rounds of 200 proposals")
    words = parser.parse_args()
    rounds, most = (2, 200) if words.quick else (words.rounds, words.proposals)
    torch.set_num_threads(words.threads)
    torch.manual_seed(0)
    pixels = picture(np.random.default_rng(0))
    x = pixels.float() / 255
    (boxes,) = proposals_of(pixels, most=most)
    search = Arm(name="selective search alone", run=lambda: proposals_of(pixels, most=most))
    arms = [search, *our_arms(x, boxes[None]), *torchvision_arms(x)]
    medians = measure(arms, rounds)
    reference = medians[f"torchvision {REFERENCE}"]
    print(f"{words.threads} threads, load {os.getloadavg()[0]:.1f}, median of {rounds} rounds\n")
    print("| detector | parameters (M) | GMACs | ms | images/s | of ssdlite320 |")
    print("|---|---:|---:|---:|---:|---:|")
    for arm in arms:
        params = "" if arm.params is None else f"{arm.params / 1e6:.2f}"
        macs = "" if arm.macs is None else f"{arm.macs / 1e9:.2f}"
        taken = medians[arm.name]
        print(
            f"| {arm.name} | {params} | {macs} | {1000 * taken:.1f} | {1 / taken:.2f} | "
            f"{reference / taken:.2f} |"
        )


if __name__ == "__main__":
    main()
