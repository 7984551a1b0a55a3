"""A network: a chain of layers that ends in a loss, and how it is kept in a file."""

import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convolens.errors import DataError, ShapeError
from convolens.scratch.chain import Chain
from convolens.scratch.layer import Array, Layer
from convolens.scratch.losses import Loss
from convolens.scratch.penalties import Penalty, is_weight


class Network:
    """Layers and a loss: scores for pictures, and the gradient of the loss for each parameter.

    Args:
        layers: by name, in the order of the forward pass; the last gives the scores.
        loss: what the scores are held against the targets by.
        penalty: a price on the weights (`penalties.l2(…)`), added to the loss; biases go free.
    Example:
        >>> from convolens.scratch.affine import Affine
        >>> from convolens.scratch.losses import SoftmaxWithLoss
        >>> net = Network({"fc": Affine(np.eye(2), np.zeros(2))}, SoftmaxWithLoss())
        >>> x, t = np.array([[0.0, 0.0]]), np.array([1])
        >>> round(net.loss(x, t), 4)  # ln 2: both classes are equally probable
        0.6931
        >>> net.gradient(x, t)["fc.b"].tolist()
        [0.5, -0.5]
    """

    def __init__(
        self, layers: Mapping[str, Layer], loss: Loss, *, penalty: Penalty | None = None
    ) -> None:
        self.chain = Chain(layers)
        self.layers = self.chain.layers
        self.last = loss
        self.penalty = penalty

    @property
    def params(self) -> dict[str, Array]:
        """What is learnt, by dotted name: the layers' own arrays."""
        return self.chain.params

    def predict(self, x: Array, *, training: bool = False) -> Array:
        """The scores. Shape: x (N, …) -> (N, classes)."""
        return self.chain.forward(x, training=training)

    def loss(self, x: Array, t: Array, *, training: bool = False) -> float:
        """The loss of pictures x with targets t, penalty included."""
        return self.loss_of(self.predict(x, training=training), t)

    def loss_of(self, scores: Array, t: Array) -> float:
        """The loss of scores, penalty included."""
        value = self.last.forward(scores, t)
        if self.penalty is not None:
            value += sum(self.penalty(w)[0] for name, w in self.params.items() if is_weight(name))
        return value

    def backward(self) -> dict[str, Array]:
        """∂L/∂p for every parameter p, where L is the loss that was computed last."""
        self.chain.backward_params(self.last.backward())
        if self.penalty is None:
            return self.chain.grads
        return {
            name: g + self.penalty(self.params[name])[1] if is_weight(name) else g
            for name, g in self.chain.grads.items()
        }

    def gradient(self, x: Array, t: Array, *, training: bool = True) -> dict[str, Array]:
        """∂L/∂p for every parameter p, by one pass forward and one back."""
        self.loss(x, t, training=training)
        return self.backward()

    def evaluate(self, x: Array, t: Array, *, batch_size: int = 500) -> tuple[float, float]:
        """The loss and the accuracy over pictures, of which batch_size are in memory at a time."""
        check_pairs(x, t)
        total = right = 0.0
        for start in range(0, len(x), batch_size):
            labels = t[start : start + batch_size]
            scores = self.predict(x[start : start + batch_size])
            total += self.loss_of(scores, labels) * len(labels)
            right += float(is_right(scores, labels).sum())
        return total / len(x), right / len(x)

    def accuracy(self, x: Array, t: Array, *, batch_size: int = 500) -> float:
        """The share of pictures whose greatest score is that of their label."""
        return self.evaluate(x, t, batch_size=batch_size)[1]

    def state(self) -> dict[str, Array]:
        """Every array that makes the network what it is, by dotted name; not copies."""
        return self.chain.state()

    def save(self, path: str | Path) -> None:
        """Writes `state` as an .npz file, an array for each name; the old file or the new, whole.

        Raises:
            DataError: when it cannot be written.
        """
        path = Path(path)
        aside = path.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with aside.open("xb") as file:
                np.savez(file, allow_pickle=False, **self.state())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise DataError(f"{path} cannot be written: {error.strerror or error}") from error

    def load(self, path: str | Path) -> None:
        """Puts the arrays of an .npz file into the network, all of them or none.

        Raises:
            DataError: when the file is missing, damaged, or of another network.
            ShapeError: when an array has another shape than the network's.
        """
        saved, own = read_npz(Path(path)), self.state()
        if saved.keys() != own.keys():
            missing, unknown = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
            parts = [
                f"{word} {', '.join(names[:3])}"
                for word, names in (("missing", missing), ("unknown", unknown))
                if names
            ]
            raise DataError(f"{path} is of another network: {'; '.join(parts)}")
        for name, value in own.items():
            if saved[name].shape != value.shape:
                raise ShapeError(
                    f"{path}: {name} has shape {saved[name].shape}, the network's is {value.shape}"
                )
            if saved[name].dtype.kind != "f":
                raise DataError(f"{path}: {name} must be float, it is {saved[name].dtype}")
        for name, value in own.items():
            value[...] = saved[name]


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by their names; nothing in it is unpickled.

    Raises:
        DataError: when it is missing or damaged.
    """
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is no .npz file: it holds a single array")
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    # The reasons that NumPy and zipfile give for a damaged file have no common root.
    except (
        *(OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, TypeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged: {reason or type(error).__name__}") from error


def is_right(scores: Array, t: Array) -> Array:
    """Whether the greatest score is the label's, bool (N,); t holds labels or one-hot rows."""
    labels = t.argmax(axis=1) if t.ndim == 2 else t
    right: Array = scores.argmax(axis=1) == labels
    return right


def check_pairs(x: Array, t: Array) -> None:
    """Raises what is wrong with pictures and targets that should go together."""
    if len(x) != len(t):
        raise ShapeError(f"expected a target for each picture, received {len(x)} and {len(t)}")
    if len(x) == 0:
        raise ShapeError("expected pictures, received an empty batch")
