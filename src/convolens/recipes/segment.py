"""Recipes for segmentation."""

from dataclasses import replace

from convolens.data.augment import AugmentConfig
from convolens.train.average import AverageConfig
from convolens.train.config import Config, DataConfig, LossConfig, ModelConfig
from convolens.train.optimizer import OptimizerConfig
from convolens.train.schedule import ScheduleConfig


def camvid(data: str = "camvid") -> Config:
    """FCN-8s on a thin ResNet-18 that predicts at stride 4, from nothing, on road scenes."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="fcn8s_resnet18", options={"stem": "small", "width": 32}),
        task="segment",
        epochs=80,
        batch_size=8,
        tta="flip",
        optimizer=OptimizerConfig(name="adamw", lr=2e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="onecycle"),
        loss=LossConfig(class_weights="root"),
        augment=AugmentConfig(
            flip=0.5,
            zoom_out=0.75,
            zoom_in=2.0,
            brightness=0.5,
            contrast=0.5,
            saturation=0.5,
            hue=0.03,
        ),
        average=AverageConfig(decay=0.99),
    )


def masks(data: str) -> Config:
    """A folder of pictures with masks: as CamVid, half as long, less zoom, even weights."""
    config = camvid(data)
    augment = replace(config.augment, zoom_in=1.5)
    return replace(config, epochs=40, augment=augment, loss=LossConfig(), tta="none")
