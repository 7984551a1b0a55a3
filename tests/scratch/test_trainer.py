import math

import numpy as np
import pytest
import torch

from convolens.errors import ConfigError, DataError, ShapeError
from convolens.scratch.activations import ReLU
from convolens.scratch.affine import Affine
from convolens.scratch.augmentation import shifts
from convolens.scratch.losses import SoftmaxWithLoss
from convolens.scratch.network import Network
from convolens.scratch.networks import deep_convnet
from convolens.scratch.optimizers import SGD, Adam
from convolens.scratch.trainer import DivergedError, Step, Trainer, constant, cosine

X = np.random.default_rng(0).normal(size=(70, 4))
T = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def small() -> Network:
    rng = np.random.default_rng(0)
    layers = {
        "fc1": Affine(0.3 * rng.normal(size=(4, 16)), np.zeros(16)),
        "relu": ReLU(),
        "fc2": Affine(0.3 * rng.normal(size=(16, 3)), np.zeros(3)),
    }
    return Network(layers, SoftmaxWithLoss())


def test_it_learns_and_tells_every_step_and_epoch() -> None:
    events = []
    net = small()
    trainer = Trainer(net, Adam(lr=0.01), epochs=30, batch_size=20, notify=events.append)
    rows = trainer.fit(X, T, val=(X[:20], T[:20]))
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.step for step in steps] == list(range(1, 121))  # 20 + 20 + 20 + 10 pictures
    assert [step.num_images for step in steps[:4]] == [20, 20, 20, 10]
    assert {step.total_steps for step in steps} == {120}
    assert [event for event in events if isinstance(event, dict)] == rows
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["step"] == 120
    assert rows[-1]["train_loss"] == pytest.approx(steps[-1].loss)
    assert rows[-1]["train_accuracy"] > 0.9 > rows[0]["train_accuracy"]
    assert (rows[-1]["val_loss"], rows[-1]["val_accuracy"]) == net.evaluate(X[:20], T[:20])


def test_the_rate_follows_the_schedule() -> None:
    rates: list[float] = []

    class Recording(SGD):
        def update(self, params, grads) -> None:
            rates.append(self.lr)
            super().update(params, grads)

    Trainer(small(), Recording(lr=0.1), epochs=2, batch_size=35, schedule=cosine).fit(X, T)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for rate in rates:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert constant(0.7) == 1.0


def test_every_epoch_takes_every_picture_once_in_another_order() -> None:
    seen: list[np.ndarray] = []

    class Watching(Affine):
        def forward(self, x, *, training=False):
            seen.append(x[:, 0])
            return super().forward(x, training=training)

    x = np.arange(70.0).reshape(70, 1) / 70
    net = Network({"fc": Watching(np.ones((1, 3)), np.zeros(3))}, SoftmaxWithLoss())
    Trainer(net, SGD(lr=0.1), epochs=2, batch_size=30).fit(x, T)
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), x[:, 0])
    assert not np.array_equal(first, second)


def test_the_same_seed_gives_the_same_bits() -> None:
    x = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    weights = []
    for seed in (5, 5, 6):
        net = deep_convnet(3, image_size=8, seed=0)  # with dropout
        trainer = Trainer(net, Adam(), epochs=2, batch_size=16, augment=shifts(1), seed=seed)
        trainer.fit(x, T[:40])
        weights.append(net.params["conv3.W"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_augmentation_changes_what_is_learnt_from_and_nothing_else() -> None:
    """Pictures that are all replaced by zeros teach nothing but how frequent each class is."""
    x = X.copy()
    net = small()
    trainer = Trainer(
        net, Adam(lr=0.01), epochs=30, batch_size=70, augment=lambda batch, _: 0 * batch
    )
    (*_, row) = trainer.fit(x, T, val=(x, T))
    np.testing.assert_array_equal(x, X)
    shares = np.bincount(T) / len(T)
    assert row["train_loss"] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.02)
    np.testing.assert_array_equal(net.params["fc1.W"], small().params["fc1.W"])
    assert row["val_loss"] == net.evaluate(x, T)[0]


def test_a_picture_with_nan_is_named() -> None:
    x = X.copy()
    x[17, 2] = math.nan
    with pytest.raises(DataError, match=r"^x must be finite, picture 17 holds NaN or infinity$"):
        Trainer(small(), SGD()).fit(x, T)
    with pytest.raises(DataError, match=r"^val must be finite, picture 17 holds"):
        Trainer(small(), SGD()).fit(X, T, val=(x, T))


@pytest.mark.filterwarnings("ignore:overflow|invalid:RuntimeWarning")
def test_a_training_that_diverges_says_where_and_what_to_do() -> None:
    x = X.astype(np.float32)
    with pytest.raises(DivergedError) as error:
        Trainer(small(), SGD(lr=1e30), epochs=5, batch_size=35).fit(x, T)
    first, second = str(error.value).splitlines()
    assert first.startswith("training diverged: ")
    assert first.endswith(("at step 1", "at step 2"))
    assert second == "Lower the learning rate (it was 1e+30)."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, received 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, received 0"),
    ],
)
def test_wrong_numbers_are_named(words: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Trainer(small(), SGD(), **words)
    assert str(error.value) == message


def test_wrong_labels_are_named() -> None:
    with pytest.raises(DataError, match="labels must be 0 to 2, received 3"):
        Trainer(small(), SGD(), batch_size=70).fit(X, np.where(T == 2, 3, T))
    with pytest.raises(ShapeError, match="a target for each picture, received 70 and 69"):
        Trainer(small(), SGD()).fit(X, T[:-1])
