"""Four ways to convolve in NumPy: loops, im2col, Fourier, Winograd. Which wins where.

    python benchmarks/scratch_conv.py

Each row is the forward pass of one convolution in float32, stride 1, padded to keep its size. The
ways take turns, and each shows the least processor time of its rounds on one thread [ms], which a
busy machine disturbs less than the time on the clock. Loops would take minutes for most rows: they
are timed on a part of a picture, and their time is scaled up by the number of products (≈).

What it shows, on one thread of a processor with AVX-512 and 2 MB of L2 cache:

- im2col wins nearly everywhere, mostly some ten thousand times faster than the loops. Its blocks
  never leave the cache, and the product runs in a library tuned for this machine.
- FFT hardly notices the filter: its cost grows only with the padded picture, that of im2col with
  K². They meet near 15×15. Many channels are its worst case: C·F filters, each transformed at the
  picture's size, to serve few pictures.
- Winograd needs 2.25 times fewer products than im2col at 3×3, and loses that again in sums and
  copies of tiles, for which NumPy passes over memory several times. They grow with C + F, the
  products with C·F, so it gains with the channels: the two are level at about 256.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy reads it

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from convolens.scratch.conv2d import conv2d, naive_conv2d
from convolens.scratch.fft import fft_conv2d
from convolens.scratch.layer import Array
from convolens.scratch.winograd import winograd_conv2d

ROUND_S = 0.6  # for all ways of a row together, at least
MIN_ROUNDS = 4
LOOP_PRODUCTS = 20_000  # that the loops are timed on


@dataclass(frozen=True, kw_only=True)
class Row:
    """A convolution: pictures, channels, filters, side of the picture and of the filter [px]."""

    N: int
    C: int
    F: int
    side: int
    kernel: int

    @property
    def products(self) -> int:
        return self.N * self.F * self.side**2 * self.C * self.kernel**2

    def __str__(self) -> str:
        return (
            f"{self.N:>3} × {self.C:>3} → {self.F:<3} at {self.side:>3} px, "
            f"{self.kernel}×{self.kernel}"
        )


ROWS = {
    "the filter grows": [Row(N=4, C=16, F=16, side=32, kernel=k) for k in (1, 3, 5, 7, 11, 15, 21)],
    "the channels grow": [Row(N=4, C=c, F=c, side=16, kernel=3) for c in (1, 4, 16, 64, 128, 256)],
    "the picture grows": [Row(N=1, C=32, F=32, side=s, kernel=3) for s in (8, 16, 32, 64, 128)],
    "networks": [
        Row(N=20, C=1, F=30, side=28, kernel=5),  # SimpleConvNet's
        Row(N=1, C=3, F=64, side=112, kernel=7),  # the first of a ResNet, at half its size
        Row(N=1, C=64, F=64, side=112, kernel=3),  # VGG's second, at half its size
        Row(N=4, C=256, F=256, side=14, kernel=3),  # the third stage of a ResNet-18
    ],
}


def main() -> None:
    print(f"{os.environ['OMP_NUM_THREADS']} thread; load average: {os.getloadavg()[0]:.1f}")
    names = ("loops", "im2col", "FFT", "Winograd")
    for title, rows in ROWS.items():
        print(f"\n{title + ' [ms]':36}" + "".join(f"{name:>11}" for name in names) + "   fastest")
        for row in rows:
            times = {"loops": loops_ms(row), **measure(row)}
            cells = [in_ms(times[name]) if name in times else "" for name in names]
            cells[0] = f"≈ {cells[0]}"
            print(f"{row!s:36}" + "".join(f"{c:>11}" for c in cells) + f"   {fastest(times)}")
    print(f"\nload average: {os.getloadavg()[0]:.1f}")


def in_ms(ms: float) -> str:
    """With three digits that mean something."""
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{float(f'{ms:.3g}'):,.0f}"


def measure(row: Row) -> dict[str, float]:
    """Least processor time of each way [ms]; their results are compared first."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((row.N, row.C, row.side, row.side), dtype=np.float32)
    W = rng.standard_normal((row.F, row.C, row.kernel, row.kernel), dtype=np.float32)
    P = row.kernel // 2
    ways: dict[str, Callable[[], Array]] = {
        "im2col": partial(conv2d, x, W, padding=P),
        "FFT": partial(fft_conv2d, x, W, padding=P),
    }
    if row.kernel == 3:
        ways["Winograd"] = partial(winograd_conv2d, x, W, padding=P)
    expected = ways["im2col"]()
    for name, way in ways.items():
        wrong = float(np.abs(way() - expected).max() / np.abs(expected).max())
        if wrong > 1e-4:
            raise SystemExit(f"{name} is wrong by {wrong:.1e} for {row}")
    least = dict.fromkeys(ways, float("inf"))
    start, rounds = time.perf_counter(), 0
    while rounds < MIN_ROUNDS or time.perf_counter() - start < ROUND_S:
        rounds += 1
        for name, way in ways.items():
            least[name] = min(least[name], elapsed_ms(way))
    return least


def loops_ms(row: Row) -> float:
    """What naive_conv2d would take, from a small picture with the filter's size and channels."""
    C = min(row.C, 4)
    side = max(1, int((LOOP_PRODUCTS / (C * row.kernel**2)) ** 0.5))
    part = Row(N=1, C=C, F=1, side=side, kernel=row.kernel)
    x = np.ones((1, C, side + row.kernel - 1, side + row.kernel - 1), np.float32)
    W = np.ones((1, C, row.kernel, row.kernel), np.float32)
    return elapsed_ms(partial(naive_conv2d, x, W)) * row.products / part.products


def elapsed_ms(way: Callable[[], Array]) -> float:
    start = time.process_time()
    way()
    return (time.process_time() - start) * 1e3


def fastest(times: dict[str, float]) -> str:
    """The fastest way, and how many times faster it is than the next."""
    (first, a), (_, b), *_ = sorted(times.items(), key=lambda item: item[1])
    return f"{first}, {b / a:.1f}×"


if __name__ == "__main__":
    main()
