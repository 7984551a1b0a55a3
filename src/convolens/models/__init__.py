"""Networks from papers, each a plain `nn.Module` built by a function of its name."""

from convolens.models.lenet import lenet5
from convolens.models.registry import MODELS
from convolens.models.resnet9 import resnet9
from convolens.models.simple_convnet import simple_convnet
from convolens.models.small_convnet import small_convnet

__all__ = ["MODELS", "lenet5", "resnet9", "simple_convnet", "small_convnet"]
