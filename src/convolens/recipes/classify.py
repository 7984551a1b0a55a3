"""Recipes for classification: one function for each family of datasets."""

from convolens.data.augment import AugmentConfig
from convolens.train.average import AverageConfig
from convolens.train.config import Config, DataConfig, LossConfig, ModelConfig
from convolens.train.optimizer import OptimizerConfig
from convolens.train.schedule import ScheduleConfig


def digits(data: str = "digits") -> Config:
    """LeNet-5 on scikit-learn's 1,797 digits, in seconds."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="lenet5"),
        epochs=30,
        batch_size=64,
        optimizer=OptimizerConfig(name="adamw", lr=3e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="onecycle"),
        augment=AugmentConfig(shift=0.07, rotation=8, scale=0.08),
    )


def mnist(data: str = "mnist") -> Config:
    """The small network for one pass over MNIST: 99 % as fast as possible."""
    return Config(
        data=DataConfig(name=data, val_fraction=0.05),
        model=ModelConfig(name="small_convnet"),
        epochs=1,
        batch_size=128,
        optimizer=OptimizerConfig(name="nesterov", lr=0.15, weight_decay=5e-4),
        schedule=ScheduleConfig(name="onecycle", peak=0.2, anneal="linear"),
    )


def grey28(data: str = "fashion-mnist") -> Config:
    """A wider small network for 28 px grey pictures that are harder than MNIST's digits."""
    return Config(
        data=DataConfig(name=data, val_fraction=0.05),
        model=ModelConfig(name="small_convnet", options={"width": 32, "dropout": 0.2}),
        epochs=8,
        batch_size=256,
        optimizer=OptimizerConfig(name="nesterov", lr=0.2, weight_decay=5e-4),
        schedule=ScheduleConfig(name="onecycle"),
        augment=AugmentConfig(shift=0.07),
    )


def colour32(data: str = "cifar10") -> Config:
    """A wider small network for 32 px colour pictures, mirrored and shifted."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="small_convnet", options={"width": 48, "dropout": 0.2}),
        epochs=12,
        batch_size=256,
        optimizer=OptimizerConfig(name="nesterov", lr=0.2, weight_decay=5e-4),
        schedule=ScheduleConfig(name="onecycle"),
        loss=LossConfig(label_smoothing=0.1),
        augment=AugmentConfig(shift=0.125, flip=0.5, padding="reflect"),
    )


def cifar10_fast(data: str = "cifar10") -> Config:
    """Airbench94 on CIFAR-10: 94 % with the least arithmetic, about 0.36 PFLOP."""
    # Jordan (2024), arXiv:2404.00498, listing 4, whose losses are sums: a rate of 11.5 for 1,024
    # pictures, divided by 1 + 1 / (1 − momentum), is 1.5 for their mean. All pictures train, so
    # the last weights are tested.
    lr, momentum = 11.5, 0.85
    return Config(
        data=DataConfig(name=data, val_fraction=0.0),
        model=ModelConfig(name="airbench94"),
        epochs=10,
        batch_size=1024,
        tta="shifts",
        optimizer=OptimizerConfig(
            name="nesterov",
            lr=lr / (1 + 1 / (1 - momentum)),
            momentum=momentum,
            weight_decay=0.0153 / lr,
            decay_norms=True,
            rates="block*.norm*.bias:64",
        ),
        schedule=ScheduleConfig(
            name="onecycle", div_factor=5, peak=0.23, final_div_factor=0.2 / 0.07, anneal="linear"
        ),
        loss=LossConfig(label_smoothing=0.2),
        augment=AugmentConfig(shift=2 / 32, flip=0.5, alternate=True, padding="reflect"),
        average=AverageConfig(decay=0.95, lookahead=5),
    )


def cifar10_resnet18(data: str = "cifar10") -> Config:
    """The usual long training of a ResNet-18 for 32 px: what faster recipes are compared with."""
    return Config(
        data=DataConfig(name=data, val_fraction=0.0),
        model=ModelConfig(name="resnet18", options={"stem": "small"}),
        epochs=200,
        batch_size=128,
        optimizer=OptimizerConfig(
            name="momentum", lr=0.1, momentum=0.9, weight_decay=5e-4, decay_norms=True
        ),
        schedule=ScheduleConfig(name="cosine"),
        augment=AugmentConfig(shift=0.125, flip=0.5),
    )


def photos(data: str) -> Config:
    """A folder of one's own: strong augmentation, since such sets are small."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="small_convnet", options={"width": 32, "dropout": 0.3}),
        epochs=30,
        batch_size=32,
        optimizer=OptimizerConfig(name="adamw", lr=2e-3, weight_decay=0.05),
        schedule=ScheduleConfig(name="onecycle"),
        loss=LossConfig(label_smoothing=0.1),
        augment=AugmentConfig(
            shift=0.1,
            flip=0.5,
            rotation=12,
            scale=0.2,
            stretch=0.15,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            padding="reflect",
        ),
    )
