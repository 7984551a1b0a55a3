"""Where a training stands: all that an exact resume needs, saved as one file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from convolens.errors import RunError
from convolens.train.average import WeightAverage
from convolens.train.checkpoint import pack, parse_tensors, save_tensors, unpack
from convolens.train.distributed import ALONE, Processes
from convolens.train.files import read_bytes
from convolens.train.run import RunFolder
from convolens.train.scale import LossScale

KEPT = 2
MODEL_PREFIX = "model."
AVERAGE_PREFIX = "average."


@dataclass
class Progress:
    """The numbers of a training that change as it goes.

    Random states need no place here: every step draws from generators seeded by (seed, step),
    and every epoch's order from one seeded by (seed, epoch).
    """

    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    rows: list[dict[str, float | int]] = field(default_factory=list)
    epoch_sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    epochs_since_better: int = 0


def save_state(
    folder: RunFolder,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    average: WeightAverage | None = None,
    scale: LossScale | None = None,
) -> None:
    """Writes `state/step-N.safetensors` and removes all but the newest two."""
    whole = {"optimizer": optimizer.state_dict(), "progress": vars(progress)}
    if scale is not None:
        whole["scale"] = scale.state()
    tree, tensors = pack(whole)
    for name, value in model.state_dict().items():
        tensors[MODEL_PREFIX + name] = value
    for name, value in average.tensors.items() if average else ():
        tensors[AVERAGE_PREFIX + name] = value
    save_tensors(folder.state / f"step-{progress.step:09d}.safetensors", tensors, {"tree": tree})
    for old in state_files(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def state_files(folder: RunFolder) -> list[Path]:
    """The saved states, the newest first."""
    return sorted(folder.state.glob("step-*.safetensors"), reverse=True)


def load_state(
    folder: RunFolder,
    model: nn.Module,
    optimizer: Optimizer,
    average: WeightAverage | None = None,
    processes: Processes = ALONE,
    scale: LossScale | None = None,
) -> tuple[Progress, list[str]]:
    """Puts the newest undamaged state into all that is given.

    Process 0 reads it, and the others get the same bytes from it.

    Returns: where training stood, and a sentence for each damaged state that was passed over.
        Where none was ever saved, training stands at its beginning.
    Raises:
        RunError: when there are states and none of them can be read.
    """
    data, notes = _newest(folder) if processes.is_first else (b"", [])
    data = processes.broadcast(data)
    if not data:
        return Progress(), notes
    tensors, meta = parse_tensors(data, folder.state)
    return _restore(tensors, meta, model, optimizer, average, scale), notes


def _newest(folder: RunFolder) -> tuple[bytes, list[str]]:
    """The bytes of the newest undamaged state, none where there is no state, and notes."""
    files = state_files(folder)
    if not files:
        return b"", [f"{folder.path} had saved no state yet: it begins again"]
    passed_over: list[str] = []
    for file in files:
        try:
            data = read_bytes(file)
            parse_tensors(data, file)
        except RunError as error:
            passed_over.append(f"{error.message}; an older state is used")
            continue
        return data, passed_over
    raise RunError(
        f"{folder.state} holds no undamaged state: {passed_over[0].split(';')[0]}",
        "The weights, if they are whole, still serve `eval` and `predict`.",
    )


def _restore(
    tensors: dict[str, Tensor],
    meta: dict[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    average: WeightAverage | None,
    scale: LossScale | None,
) -> Progress:
    weights = _take(tensors, MODEL_PREFIX)
    averaged = _take(tensors, AVERAGE_PREFIX)
    tree = unpack(meta["tree"], tensors)
    model.load_state_dict(weights)
    optimizer.load_state_dict(tree["optimizer"])
    if average is not None:
        average.load(averaged)
    if scale is not None and "scale" in tree:  # a GPU's Run may go on in another precision
        scale.load(tree["scale"])
    return Progress(**tree["progress"])


def _take(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Moves the tensors of a prefix out, by their names without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
