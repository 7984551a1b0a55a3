"""Recipes for segmentation."""

from convolens.data.augment import AugmentConfig
from convolens.train.average import AverageConfig
from convolens.train.config import Config, DataConfig, LossConfig, ModelConfig
from convolens.train.optimizer import OptimizerConfig
from convolens.train.schedule import ScheduleConfig


def camvid(data: str = "camvid") -> Config:
    """FCN-8s on a small ResNet-18, from nothing, on the road scenes of CamVid."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="fcn8s_resnet18"),
        task="segment",
        epochs=60,
        batch_size=8,
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="onecycle"),
        loss=LossConfig(class_weights="balanced"),
        augment=AugmentConfig(
            flip=0.5, zoom_out=0.75, zoom_in=2.0, brightness=0.3, contrast=0.3, saturation=0.3
        ),
        average=AverageConfig(decay=0.99),
    )


def masks(data: str) -> Config:
    """A folder of pictures with masks: FCN-8s on a ResNet-18, strongly augmented."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="fcn8s_resnet18"),
        task="segment",
        epochs=40,
        batch_size=8,
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="onecycle"),
        augment=AugmentConfig(
            flip=0.5, zoom_out=0.75, zoom_in=1.5, brightness=0.3, contrast=0.3, saturation=0.3
        ),
    )
