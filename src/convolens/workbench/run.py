"""A Run in a person's hands: its numbers, its network, and what it says of other pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from convolens.data.picture import PictureFormat
from convolens.errors import RunError
from convolens.tasks.base import Task
from convolens.tasks.classify import Classify
from convolens.tasks.detect import Detect
from convolens.tasks.segment import Segment
from convolens.train.checkpoint import load_weights
from convolens.train.config import Config, Tta
from convolens.train.files import read_json
from convolens.train.plan import Plan, choose_device, plan_from_json
from convolens.train.run import RunFolder
from convolens.workbench.network import build_network
from convolens.workbench.predict import Prediction, predict_pictures
from convolens.workbench.predict_boxes import SCORE, BoxPrediction, predict_boxes
from convolens.workbench.predict_masks import MaskPrediction, predict_masks
from convolens.workbench.tasks import FROM_JSON, check_views
from convolens.workbench.views import with_views


@dataclass(frozen=True, eq=False)
class Run:
    """The folder that a training has left.

    Args:
        folder: its files.
        config: the complete configuration.
        facts: what was found in the data.
    """

    folder: RunFolder
    config: Config
    facts: Mapping[str, Any]

    @classmethod
    def open(cls, path: "str | Path | Run") -> "Run":
        """Opens a Run's folder.

        Raises:
            RunError: when the folder is no Run, or is damaged.
        """
        if isinstance(path, Run):
            return path
        folder = RunFolder(Path(path))
        config, facts = folder.read_config()
        missing = {"dataset", "format", "counts", "task", "plan"} - facts.keys()
        if missing:
            where = f"{folder.config_file} is damaged: 'found' lacks {', '.join(sorted(missing))}"
            raise RunError(where)
        return cls(folder, config, facts)

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def is_complete(self) -> bool:
        """Whether the training went to its end."""
        return self.folder.test_file.is_file()

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, one for each epoch."""
        return self.folder.read_metrics()

    @property
    def test(self) -> dict[str, Any]:
        """The test metrics of the best weights, and how long the training took.

        Raises:
            RunError: when the training is not complete.
        """
        if not self.is_complete:
            raise RunError(
                f"{self.path} is not complete",
                f"Go on with: convolens train --resume {self.path}",
            )
        tree = read_json(self.folder.test_file)
        if not isinstance(tree, dict) or not isinstance(tree.get("metrics"), dict):
            raise RunError(f"{self.folder.test_file} is damaged: it has no metrics")
        return tree

    def summary(self) -> dict[str, Any]:
        """What the training came to, as `train --json` prints it."""
        test = self.test
        return {
            "run": str(self.path),
            "task": self.config.task,
            "model": self.config.model.name,
            "dataset": self.facts["dataset"],
            "epochs": test.get("epochs", self.config.epochs),
            "seconds": test["seconds"],
            "metrics": {f"test_{name}": value for name, value in test["metrics"].items()},
        }

    @cached_property
    def task(self) -> Task:
        """The Run's task, as far as prediction needs it."""
        try:
            return FROM_JSON[self.config.task](self.facts["task"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self.folder.config_file} is damaged: found.task: {error}") from error

    @property
    def classifier(self) -> Classify:
        """The task of a Run that classifies.

        Raises:
            RunError: when the Run is for another task.
        """
        if not isinstance(self.task, Classify):
            raise RunError(
                f"{self.path} was trained to {self.config.task}; this needs a Run that classifies"
            )
        return self.task

    @cached_property
    def format(self) -> PictureFormat:
        """How a picture becomes an input of the Run's network."""
        try:
            tree = dict(self.facts["format"])
            return PictureFormat(**{**tree, "size": tuple(tree["size"])})
        except (KeyError, TypeError, ValueError) as error:
            where = f"{self.folder.config_file} is damaged: found.format: {error}"
            raise RunError(where) from error

    def plan(self, device: str | None = None) -> Plan:
        """How the Run's network was run, on this machine's device."""
        try:
            return plan_from_json(self.facts["plan"], choose_device(device or self.config.device))
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.folder.config_file} is damaged: found.plan: {error}") from error

    def network(self, device: str | None = None) -> nn.Module:
        """The trained network, ready to predict: the best weights, or the last where none are.

        Raises:
            RunError: when the weights are missing, damaged, or of another network.
        """
        height, width = self.format.size
        net = build_network(
            self.config.model.name,
            self.config.model.options,
            num_classes=len(self.task.class_names),
            input_size=(self.format.channels, height, width),
            task=self.config.task,
        )
        best, last = (self.folder.weights_file(which) for which in ("best", "last"))
        load_weights(net, best if best.is_file() or self.is_complete else last)
        return self.plan(device).place(net).eval()

    def predict(
        self,
        *images: str | Path,
        top: int = 5,
        score: float = SCORE,
        device: str | None = None,
        tta: Tta | None = None,
    ) -> list[Prediction] | list[MaskPrediction] | list[BoxPrediction]:
        """What the network says of pictures of any size and colour.

        Args:
            images: files.
            top: how many labels to give for each picture, where the Run classifies.
            score: the least score of a detection, where the Run detects.
            device: "cpu" or "cuda"; None is the Run's.
            tta: views of a picture that are averaged: "none", "flip" (to segment, too), "shifts",
                "crops" or, to segment, "scales"; None is the Run's.
        Returns: a Prediction for each picture, in their order; a MaskPrediction where the Run
            segments, a BoxPrediction where it detects.
        Raises:
            DataError: when a picture cannot be read.
        """
        plan, task, paths = self.plan(device), self.task, [Path(p) for p in images]
        views = check_views(self.config.task, tta or self.config.tta)
        network = with_views(self.network(device), views)
        if isinstance(task, Segment):
            return predict_masks(network, task, plan, self.format, paths)
        if isinstance(task, Detect):
            return predict_boxes(network, task, plan, self.format, paths, score)
        return predict_pictures(network, self.classifier, plan, self.format, paths, top)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def predict(
    run: str | Path | Run,
    *images: str | Path,
    top: int = 5,
    score: float = SCORE,
    device: str | None = None,
    tta: Tta | None = None,
) -> list[Prediction] | list[MaskPrediction] | list[BoxPrediction]:
    """Does what `Run.predict` does, for a Run or its folder."""
    return Run.open(run).predict(*images, top=top, score=score, device=device, tta=tta)
