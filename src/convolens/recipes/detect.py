"""Recipes for detection."""

from dataclasses import replace

from convolens.data.augment import AugmentConfig
from convolens.train.average import AverageConfig
from convolens.train.config import Config, DataConfig, ModelConfig
from convolens.train.optimizer import OptimizerConfig
from convolens.train.schedule import ScheduleConfig


def objects(data: str) -> Config:
    """A folder of pictures with boxes: our one-pass detector, from nothing."""
    return Config(
        data=DataConfig(name=data),
        model=ModelConfig(name="yolo"),
        task="detect",
        epochs=60,
        batch_size=8,
        clip_norm=10.0,
        optimizer=OptimizerConfig(name="adamw", lr=2e-3, weight_decay=0.02),
        schedule=ScheduleConfig(name="onecycle", peak=0.1),
        augment=AugmentConfig(
            flip=0.5, zoom_out=0.7, zoom_in=1.5, brightness=0.2, contrast=0.2, saturation=0.2
        ),
        average=AverageConfig(decay=0.995),
    )


def bccd(data: str = "bccd") -> Config:
    """Cells in blood: as for any folder, and turned upside down, since cells have no upright."""
    config = objects(data)
    augment = replace(config.augment, vertical_flip=0.5, zoom_out=0.75, zoom_in=1.35)
    return replace(config, augment=augment)
