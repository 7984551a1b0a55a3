"""What is written down about a training: the data it found, the machine it ran on."""

import platform
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from convolens import __version__
from convolens.data.base import Dataset
from convolens.tasks.base import Task
from convolens.train.choice import Choice, to_json
from convolens.train.plan import Plan

MAX_PROBLEMS = 5


def facts_of(dataset: Dataset, task: Task, plan: Plan) -> dict[str, Any]:
    """What `predict` and `eval` need to know of the data, and how the network was run."""
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return {
        "dataset": dataset.name,
        "format": asdict(dataset.format),
        "counts": {name: len(split) for name, split in splits.items() if split is not None},
        "task": dict(task.to_json()),
        "plan": dict(plan.to_json()),
        "notes": list(dataset.notes),
        "problems": [asdict(problem) for problem in dataset.problems],
    }


def notes_of(dataset: Dataset) -> list[str]:
    """What a person should know of the data before training begins."""
    texts = list(dataset.notes)
    problems = dataset.problems
    if problems:
        noun = "problem" if len(problems) == 1 else "problems"
        texts.append(f"{len(problems)} {noun} in the data:")
        texts += [f"  {problem.where}: {problem.why}" for problem in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            texts.append(f"  … and {len(problems) - MAX_PROBLEMS} more, listed in config.json")
    return texts


def environment(choice: Choice) -> dict[str, Any]:
    """Versions, machine, the plan, and what was measured to choose it."""
    return {
        "convolens": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "cuda": torch.cuda.get_device_name() if choice.plan.device == "cuda" else None,
        "threads": torch.get_num_threads(),
        **to_json(choice),
    }
