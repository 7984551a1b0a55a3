"""Networks from papers, each a plain `nn.Module` built by a function of its name."""

from convolens.models.airbench import airbench94
from convolens.models.alexnet import alexnet
from convolens.models.densenet import (
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_cifar,
)
from convolens.models.fast_rcnn import fast_rcnn
from convolens.models.faster_rcnn import faster_rcnn
from convolens.models.fcn import (
    fcn8s,
    fcn8s_resnet18,
    fcn16s,
    fcn16s_resnet18,
    fcn32s,
    fcn32s_resnet18,
)
from convolens.models.googlenet import googlenet
from convolens.models.lenet import lenet5, lenet5_1998
from convolens.models.nin import nin, nin_cifar
from convolens.models.rcnn import rcnn
from convolens.models.registry import MODELS
from convolens.models.resnet import (
    plain18,
    plain34,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from convolens.models.resnet9 import resnet9
from convolens.models.resnet_cifar import (
    plain20,
    plain32,
    plain44,
    plain56,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from convolens.models.simple_convnet import simple_convnet
from convolens.models.small_convnet import small_convnet
from convolens.models.unet import unet
from convolens.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from convolens.models.weights import load_imagenet
from convolens.models.yolo import yolo
from convolens.models.yolo_v1 import yolo_v1
from convolens.models.zfnet import zfnet

__all__ = [
    "MODELS",
    "airbench94",
    "alexnet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_cifar",
    "fast_rcnn",
    "faster_rcnn",
    "fcn8s",
    "fcn8s_resnet18",
    "fcn16s",
    "fcn16s_resnet18",
    "fcn32s",
    "fcn32s_resnet18",
    "googlenet",
    "lenet5",
    "lenet5_1998",
    "load_imagenet",
    "nin",
    "nin_cifar",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "rcnn",
    "resnet9",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "simple_convnet",
    "small_convnet",
    "unet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "yolo",
    "yolo_v1",
    "zfnet",
]
