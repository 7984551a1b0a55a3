"""Several processes that train one network together, on one machine or on many.

Every process holds the whole network and takes its share of every batch; the gradients are summed
in one piece after the backward pass, before penalty, clipping and the optimizer, which are then
the same computation everywhere.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from convolens.data.augment import Share
from convolens.errors import ConfigError, ConvolensError, UnavailableError

MEET_S = 300.0  # how long to wait for the others at the beginning
# Process 0 may download a dataset or measure a plan while the others wait.
WAIT_S = 3600.0
CAUSE_S = 10.0  # how long a process that has lost another waits at most for the other's words


class LostProcessError(ConvolensError):
    """Another process of this training has ended."""

    exit_status = 1


class EndedElsewhereError(ConvolensError):
    """Training ended, and another process has said why."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Which of the processes of a training this one is; by default the only one.

    Args:
        rank: its number, from 0 to world_size − 1; number 0 alone writes and shows progress.
        world_size: how many there are.
        local_rank: its number among those on this machine.
        address, port: where all of them meet.
        is_hosted: whether the program that started them keeps the meeting place, as torchrun
            does; otherwise process 0 does.
        restarts: how often all were started again because one was lost.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 29500
    is_hosted: bool = False
    restarts: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"rank must be from 0 to world_size − 1, received {self.rank} of {self.world_size}"
            )

    @property
    def is_first(self) -> bool:
        """Whether this one writes the Run and shows the progress."""
        return self.rank == 0

    def share(self, batch_size: int) -> Share:
        """Which pictures of every batch are this process's; sizes differ by one at most.

        Example:
            >>> Processes(rank=1, world_size=3).share(8)
            Share(first=2, last=5, total=8)
        """
        first = batch_size * self.rank // self.world_size
        last = batch_size * (self.rank + 1) // self.world_size
        return Share(first=first, last=last, total=batch_size)

    def add_(self, values: Tensor) -> None:
        """Replaces a contiguous tensor by its sum over all processes, the same bits in each."""
        if self.world_size > 1:
            with _together():
                dist.all_reduce(values)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one process or more."""
        if self.world_size == 1:
            return flag
        count = torch.tensor([int(flag)])
        self.add_(count)
        return bool(count.item())

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The named tensors of all processes together, on the CPU; no two have the same name."""
        own = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        with _together():
            dist.all_gather(sizes, torch.tensor([len(own)]))
            longest = max(int(size) for size in sizes)
            parts = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
            padded = torch.frombuffer(bytearray(own.ljust(longest)), dtype=torch.uint8)
            dist.all_gather(parts, padded)
        found: dict[str, Tensor] = {}
        for part, size in zip(parts, sizes, strict=True):
            found |= load(part[: int(size)].numpy().tobytes())
        return found

    def broadcast(self, data: bytes) -> bytes:
        """What process 0 gives; what the others give is ignored."""
        if self.world_size == 1:
            return data
        length = torch.tensor([len(data)])
        with _together():
            dist.broadcast(length, 0)
            size = int(length.item())
            own = data if self.is_first else bytes(size)
            content = torch.frombuffer(bytearray(own) or bytearray(1), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return content[:size].numpy().tobytes()

    @torch.no_grad()
    def spread(self, model: nn.Module) -> None:
        """Gives every process the parameters and buffers of process 0."""
        if self.world_size == 1:
            return
        for tensor in model.state_dict().values():
            values = tensor.contiguous()
            with _together():
                dist.broadcast(values, 0)
            tensor.copy_(values)

    def wait(self) -> None:
        """Waits until all processes are here."""
        self.any(False)

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """One process of each machine goes first, the others follow; for files that it may make."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()

    @torch.no_grad()
    def add_gradients(
        self,
        parameters: Iterable[nn.Parameter],
        loss: Tensor,
        metrics: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Replaces every gradient by its sum over all processes; returns the sums of the rest.

        A parameter without a gradient in one process counts as 0 there; one without a gradient
        in any of them stays without.

        Args:
            parameters: the same ones, in the same order, in every process.
            loss, metrics: each process's share of the batch's.
        """
        if self.world_size == 1:
            return loss, dict(metrics)
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        missing = [number for number, p in enumerate(learning) if p.grad is None]
        numbers = [value.float() for value in (loss, *metrics.values())]
        present = loss.new_ones(len(learning), dtype=torch.float32)
        present[missing] = 0
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        pieces = [
            torch.stack(numbers),
            present,
            *(g.float().reshape(-1) for g in gradients),
        ]
        flat = torch.cat(pieces)
        self.add_(flat)
        (total, *values), present, *sums = torch.split(flat, [len(piece) for piece in pieces])
        # Reading waits for a GPU, so it is done only where another process decides.
        absent = {number for number in missing if not present[number].item()}
        for number, (parameter, gradient, piece) in enumerate(
            zip(learning, gradients, sums, strict=True)
        ):
            if number not in absent:
                parameter.grad = gradient.copy_(piece.view(gradient.shape))
        return total, dict(zip(metrics, values, strict=True))


ALONE = Processes()


def check_share(processes: Processes, batch_size: int, accumulate: int) -> None:
    """Raises ConfigError when a process would have no picture in one of a batch's parts."""
    least = processes.world_size * accumulate
    if processes.world_size > 1 and batch_size < least:
        parts = f" with accumulate {accumulate}" if accumulate > 1 else ""
        raise ConfigError(
            f"batch_size {batch_size} is too small for {processes.world_size} processes{parts}: "
            f"expected at least {least}",
            "batch_size counts the pictures of all processes together.",
        )


@contextmanager
def joined(processes: Processes) -> Iterator[None]:
    """While inside, the processes can speak to one another; an error in one ends all.

    Raises:
        UnavailableError: when they do not meet.
        LostProcessError: when another one was lost.
        EndedElsewhereError: in place of an error after which another process has already said
            why training ended, so that a person reads it once.
    """
    if processes.world_size == 1:
        yield
        return
    store = _meet(processes)
    try:
        yield
        processes.wait()
    except (Exception, KeyboardInterrupt) as error:
        if not _speaks_first(store, error):
            raise EndedElsewhereError("another process has said why") from error
        raise
    finally:
        dist.destroy_process_group()


def _meet(processes: Processes) -> Any:
    """Opens the way to the other processes; returns the store of small values that all share."""
    where = f"{processes.address}:{processes.port}"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(processes.local_rank % gpus)
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            processes.address,
            processes.port,
            processes.world_size,
            is_master=processes.is_first and not processes.is_hosted,
            timeout=timedelta(seconds=MEET_S),
        )
        own = dist.PrefixStore(f"convolens-{processes.restarts}", store)  # type: ignore[attr-defined]
        dist.init_process_group(
            _backend(own, processes, gpus),
            store=own,
            rank=processes.rank,
            world_size=processes.world_size,
            timeout=timedelta(seconds=WAIT_S),
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UnavailableError(
            f"process {processes.rank} did not meet the other "
            f"{processes.world_size - 1} at {where}: {reason}",
            "Start them with torchrun, with the same --nnodes and --rdzv-endpoint everywhere.",
        ) from error
    return own


def _backend(store: Any, processes: Processes, gpus: int) -> str:
    """NCCL between GPUs where each process of every machine has one of its own, else gloo."""
    enough = dist.is_nccl_available() and processes.local_rank < gpus
    if not enough:
        store.set("shared", "yes")
    # Everyone has looked before anyone asks.
    store.add("looked", 1)
    while store.add("looked", 0) < processes.world_size:
        time.sleep(0.01)
    return "gloo" if store.check(["shared"]) else "cpu:gloo,cuda:nccl"


@contextmanager
def _together() -> Iterator[None]:
    """What all processes do at the same time; it fails where one of them has ended."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this training was lost",
            "Go on with --resume and the Run; torchrun --max-restarts does so by itself.",
        ) from error


def _speaks_first(store: Any, error: BaseException) -> bool:
    """Whether no other process has claimed to say why training ended."""
    try:
        if isinstance(error, LostProcessError):  # the one that failed knows more
            patience = time.monotonic() + CAUSE_S
            while time.monotonic() < patience and not store.add("said", 0):
                time.sleep(0.02)
        return bool(store.add("said", 1) == 1)
    except RuntimeError:  # the meeting place is gone with the process that kept it
        return True
