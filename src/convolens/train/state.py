"""Where a training stands: all that an exact resume needs, saved as one file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from convolens.errors import RunError
from convolens.train.checkpoint import load_tensors, pack, save_tensors, unpack
from convolens.train.run import RunFolder

KEPT = 2
MODEL_PREFIX = "model."


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


def save_state(
    folder: RunFolder, model: nn.Module, optimizer: Optimizer, progress: Progress
) -> None:
    """Writes `state/step-N.safetensors` and removes all but the newest two."""
    tree, tensors = pack({"optimizer": optimizer.state_dict(), "progress": vars(progress)})
    for name, value in model.state_dict().items():
        tensors[MODEL_PREFIX + name] = value
    save_tensors(folder.state / f"step-{progress.step:09d}.safetensors", tensors, {"tree": tree})
    for old in state_files(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def state_files(folder: RunFolder) -> list[Path]:
    """The saved states, the newest first."""
    return sorted(folder.state.glob("step-*.safetensors"), reverse=True)


def load_state(
    folder: RunFolder, model: nn.Module, optimizer: Optimizer
) -> tuple[Progress, list[str]]:
    """Puts the newest undamaged state into the model and the optimizer.

    Returns: where training stood, and a sentence for each damaged state that was passed over.
    Raises:
        RunError: when there is no state that can be read.
    """
    files = state_files(folder)
    passed_over: list[str] = []
    for file in files:
        try:
            tensors, meta = load_tensors(file)
        except RunError as error:
            passed_over.append(f"{error.message}; an older state is used")
            continue
        return _restore(tensors, meta, model, optimizer), passed_over
    if passed_over:
        raise RunError(
            f"{folder.state} holds no undamaged state: {passed_over[0].split(';')[0]}",
            "The weights, if they are whole, still serve `eval` and `predict`.",
        )
    raise RunError(f"{folder.path} has no saved state to go on from")


def _restore(
    tensors: dict[str, Tensor], meta: dict[str, Any], model: nn.Module, optimizer: Optimizer
) -> Progress:
    weights = {
        name.removeprefix(MODEL_PREFIX): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(MODEL_PREFIX)
    }
    tree = unpack(meta["tree"], tensors)
    model.load_state_dict(weights)
    optimizer.load_state_dict(tree["optimizer"])
    return Progress(**tree["progress"])
