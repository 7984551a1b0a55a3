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
    """A shallow residual network for CIFAR-10: meant for 94 % in the least time."""
    # Page (2018), parts 4 and 8; all pictures train, so the last weights, averaged, are tested.
    return Config(
        data=DataConfig(name=data, val_fraction=0.0),
        model=ModelConfig(name="resnet9"),
        epochs=15,
        batch_size=512,
        tta="flip",
        optimizer=OptimizerConfig(name="nesterov", lr=0.4, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(name="onecycle", peak=0.2, anneal="linear"),
        loss=LossConfig(label_smoothing=0.2),
        augment=AugmentConfig(shift=0.125, flip=0.5, cutout=0.25, padding="reflect"),
        average=AverageConfig(decay=0.99),
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
