"""How to run a network on this machine: device, memory layout, precision, threads."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convolens.data.root import cache_folder
from convolens.errors import UnavailableError
from convolens.nn.kernels.allocator import keep_freed_memory
from convolens.nn.kernels.build import Half, half_precision, load_library, why_unavailable
from convolens.nn.kernels.rewrite import apply_kernels

CLEARLY = 1.4  # far from any ratio that noise could move across

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES: Mapping[Precision, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every forward pass of a Run is computed, so that `eval` repeats `train` exactly.

    Args:
        device: "cpu" or "cuda".
        precision: of convolutions and matrix products; weights and losses stay float32. With
            float16 the loss is scaled, see `LossScale`. With our kernels it is not, and
            convolutions and fully connected layers alone have that precision.
        channels_last: whether volumes lie in memory as (N, H, W, C).
        kernels: whether layers that our own kernels fit are computed by them.
        half_forward: whether, with our kernels, products are taken in that precision forward, too,
            not for the gradients alone. Errors of what goes forward turn ReLUs, which moves a deep
            network's gradient by the root of them; errors of gradients only add.
        compiled: whether `torch.compile` has rewritten the network.
        threads: of the CPU; 0 is as many as PyTorch takes.
        micro_batch: the most pictures that go through the network at once while it learns; the
            gradients of the parts of a batch are added up. 0 is the whole batch.
    """

    device: str
    precision: Precision
    channels_last: bool
    kernels: bool = False
    half_forward: bool = True
    compiled: bool = False
    threads: int = 0
    micro_batch: int = 0

    def place(self, model: nn.Module) -> nn.Module:
        """Moves a network to the device and into the memory layout, in place.

        Where the plan wants our kernels and they cannot be had here, the stock operations
        compute the same within rounding.
        """
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        if self.device == "cpu" and self.channels_last:  # never for the reference
            keep_freed_memory()
        if self.kernels and self.device == "cpu" and why_no_kernels() is None:
            library = load_library(_kernel_folder())
            half = self.precision == half_precision(library)
            apply_kernels(model, library, half=half, half_forward=self.half_forward)
        if self.compiled:
            model.compile()
        return model

    def arrange(self, pixels: Tensor) -> Tensor:
        """Puts a batch of pictures into the memory layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return pixels.contiguous(memory_format=layout)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """While inside, a forward pass has the plan's precision and threads."""
        dtype = _DTYPES.get(self.precision, torch.bfloat16)
        enabled = self.precision in _DTYPES and not self.kernels
        with self.own_threads(), torch.autocast(self.device, dtype=dtype, enabled=enabled):
            yield

    @contextmanager
    def own_threads(self) -> Iterator[None]:
        """While inside, PyTorch uses the plan's number of threads, in a backward pass too."""
        before = torch.get_num_threads()
        if not self.threads or self.threads == before:
            yield
            return
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients pass through float16, where small ones vanish."""
        return self.precision == "float16" and not self.kernels

    def num_parts(self, num_images: int) -> int:
        """The parts into which a batch is split so that none is larger than a micro-batch.

        Example:
            >>> plan = Plan(device="cpu", precision="float32", channels_last=False, micro_batch=32)
            >>> plan.num_parts(128), plan.num_parts(100), plan.num_parts(8)
            (4, 4, 1)
        """
        return -(-num_images // self.micro_batch) if self.micro_batch else 1

    def seed(self, value: int) -> None:
        """Seeds what the device draws from; `torch.manual_seed` would cost a millisecond."""
        torch.default_generator.manual_seed(value)
        if self.device == "cuda":
            torch.cuda.manual_seed(value)

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self)


def why_no_kernels() -> str | None:
    """Says in one sentence why our own kernels cannot be used here; None when they can."""
    return why_unavailable(_kernel_folder())


def half_of_kernels() -> Half | None:
    """In which precision our own kernels multiply faster than in float32 here, if in any."""
    return None if why_no_kernels() is not None else half_precision(load_library(_kernel_folder()))


def _kernel_folder() -> Path:
    return cache_folder() / "kernels"


def choose_device(wanted: str) -> str:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        UnavailableError: when "cuda" is wanted and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UnavailableError(
            "--device cuda: PyTorch finds no CUDA device here", "Use --device auto or cpu."
        )
    return "cuda" if available and wanted != "cpu" else "cpu"


def has_fast_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices clearly faster than float32 ones.

    On a CPU it is measured, since two processors with the same instructions differ: one gains a
    factor of two or more, another loses a third.
    """
    if device == "cuda":
        # PyTorch imitates bfloat16 on GPUs that lack it, slowly.
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _bfloat16_gain() > CLEARLY


@cache
def _bfloat16_gain(size: int = 512, times: int = 15) -> float:
    """How many times faster a CPU multiplies matrices in bfloat16 than in float32."""
    kinds = (torch.float32, torch.bfloat16)
    factors = {kind: torch.ones(size, size, dtype=kind) for kind in kinds}
    least = dict.fromkeys(kinds, float("inf"))
    for _ in range(times):  # in turn, so that a disturbance meets both
        for kind in kinds:
            began = time.perf_counter()
            torch.mm(factors[kind], factors[kind])
            least[kind] = min(least[kind], time.perf_counter() - began)
    return least[torch.float32] / least[torch.bfloat16]


def plan_from_json(tree: Mapping[str, Any], device: str) -> Plan:
    """The plan that a Run was trained with, on a device that may be another."""
    return Plan(
        device=device,
        precision=tree["precision"],
        channels_last=bool(tree["channels_last"]),
        kernels=bool(tree["kernels"]),
        # A Run that is older than a field was trained as if it had this value.
        half_forward=bool(tree.get("half_forward", True)),
        compiled=bool(tree.get("compiled", False)),
        threads=int(tree.get("threads", 0)),
        micro_batch=int(tree.get("micro_batch", 0)),
    )
