import pkgutil
from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convolens as cl
from convolens import scratch
from convolens.errors import ConfigError
from convolens.scratch import activations, networks
from convolens.scratch.affine import Affine, Flatten
from convolens.scratch.chain import Chain, Residual
from convolens.scratch.convolution import Convolution, TransposedConvolution
from convolens.scratch.dropout import Dropout
from convolens.scratch.layer import Layer
from convolens.scratch.losses import Loss, SoftmaxWithLoss, SquaredError, SVMLoss
from convolens.scratch.network import Network
from convolens.scratch.normalization import BatchNormalization, LocalResponseNorm
from convolens.scratch.optimizers import Momentum
from convolens.scratch.pooling import AveragePooling, MaxPooling
from convolens.scratch.trainer import Trainer
from convolens.workbench.to_torch import to_torch

WITHIN = {np.float32: 1e-5, np.float64: 1e-10}
PROTOCOLS = {Layer, Loss}
DTYPES = [np.float32, np.float64]


def layers(dtype: type) -> dict[str, tuple[Layer, tuple[int, ...]]]:
    """Every layer of the NumPy floor, with the shape of an input."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (0.5 * rng.standard_normal(shape)).astype(dtype)

    return {
        "convolution": (Convolution(normal(4, 3, 3, 2), normal(4)), (2, 3, 7, 6)),
        "strided": (Convolution(normal(4, 3, 3, 3), stride=3, padding=2, dilation=2), (2, 3, 9, 8)),
        "grouped": (Convolution(normal(6, 2, 2, 2), normal(6), groups=2), (2, 4, 5, 5)),
        "depthwise": (Convolution(normal(4, 1, 3, 3), groups=4, padding=1), (2, 4, 5, 5)),
        "1x1": (Convolution(normal(5, 3, 1, 1), normal(5)), (2, 3, 4, 4)),
        "transposed": (TransposedConvolution(normal(3, 4, 2, 3), normal(4)), (2, 3, 4, 5)),
        "transposed strided": (
            TransposedConvolution(
                normal(4, 3, 3, 3), stride=3, padding=1, dilation=2, groups=2, output_padding=1
            ),
            (2, 4, 4, 4),
        ),
        "affine": (Affine(normal(6, 3), normal(3)), (4, 6)),
        "flatten": (Flatten(), (2, 3, 4, 4)),
        "max pooling": (MaxPooling(3, stride=2, padding=1), (2, 3, 7, 6)),
        "average pooling": (AveragePooling(3, stride=2, padding=1), (2, 3, 7, 6)),
        "sigmoid": (activations.Sigmoid(), (4, 6)),
        "tanh": (activations.Tanh(), (4, 6)),
        "relu": (activations.ReLU(), (4, 6)),
        "leaky relu": (activations.LeakyReLU(0.2), (4, 6)),
        "prelu": (activations.PReLU(normal(3)), (2, 3, 4, 4)),
        "prelu of one slope": (activations.PReLU(normal(1)), (4, 6)),
        "elu": (activations.ELU(0.7), (4, 6)),
        "maxout": (activations.Maxout(3), (2, 6, 4, 4)),
        "softmax": (activations.Softmax(), (4, 6)),
        "batch norm of rows": (BatchNormalization(normal(6), normal(6), momentum=0.3), (4, 6)),
        "batch norm": (BatchNormalization(normal(3), normal(3), eps=0.01), (2, 3, 4, 4)),
        "response norm": (LocalResponseNorm(3, alpha=0.1, beta=0.6, k=1.5), (2, 6, 3, 3)),
        "no dropout": (Dropout(0.0), (4, 6)),
        "residual": (
            Residual(
                {"conv": Convolution(normal(4, 3, 3, 3), padding=1, stride=2)},
                {"conv": Convolution(normal(4, 3, 1, 1), stride=2)},
            ),
            (2, 3, 6, 6),
        ),
    }


NAMES = tuple(layers(np.float32))


def assert_close(ours: np.ndarray, theirs: Tensor, within: float, what: str = "") -> None:
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), what
    np.testing.assert_allclose(
        ours, theirs.detach().numpy(), rtol=within, atol=within, err_msg=what
    )


def torch_name(name: str) -> str:
    """conv1.W as conv1.weight."""
    layer, _, array = name.rpartition(".")
    word = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "a": "weight"}[array]
    return f"{layer}.{word}".lstrip(".")


def assert_same_gradients(layer: Chain | Layer, module: nn.Module, within: float) -> None:
    own = dict(module.named_parameters())
    assert own.keys() == {torch_name(name) for name in layer.params}
    for name, gradient in layer.grads.items():
        theirs = own[torch_name(name)].grad
        assert_close(gradient.T if gradient.ndim == 2 else gradient, theirs, within, name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_and_its_gradients(name: str, dtype: type, training: bool) -> None:
    layer, shape = layers(dtype)[name]
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    layer.forward(2 * x + 1, training=True)  # moves running statistics away from 0 and 1
    module = to_torch(layer).train(training)
    tensor = torch.tensor(x, requires_grad=True)
    ours, theirs = layer.forward(x, training=training), module(tensor)
    assert_close(ours, theirs, WITHIN[dtype])
    dout = np.random.default_rng(2).standard_normal(ours.shape).astype(dtype)
    theirs.backward(torch.tensor(dout))
    assert_close(layer.backward(dout), tensor.grad, WITHIN[dtype], "x")
    assert_same_gradients(layer, module, WITHIN[dtype])
    if isinstance(layer, BatchNormalization):
        assert_close(layer.running_mean, module.running_mean, WITHIN[dtype])
        assert_close(layer.running_var, module.running_var, WITHIN[dtype])


def test_no_layer_is_left_out() -> None:
    found: set[type] = set()
    for info in pkgutil.iter_modules(scratch.__path__):
        module = import_module(f"convolens.scratch.{info.name}")
        found |= {
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and hasattr(value, "forward")
        }
    losses = {SoftmaxWithLoss, SVMLoss, SquaredError}
    assert found - losses - {Chain} - PROTOCOLS == {type(x) for x, _ in layers(np.float32).values()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["simple_convnet", "deep_convnet", "lenet5", "residual_net"])
def test_networks_with_the_gradients_of_their_loss(name: str, dtype: type) -> None:
    options = {"dropout": 0.0} if name == "deep_convnet" else {}
    net = getattr(networks, name)(image_size=16, dtype=dtype, seed=1, **options)
    x = np.random.default_rng(0).standard_normal((6, 1, 16, 16)).astype(dtype)
    t = np.arange(6)
    if name == "residual_net":  # running statistics as a training leaves them
        Trainer(net, Momentum(0.01), epochs=2, batch_size=6).fit(x, t)
    module = cl.to_torch(net).eval()
    assert_close(net.predict(x), module(torch.tensor(x)), WITHIN[dtype])
    module.train()
    loss = F.cross_entropy(module(torch.tensor(x)), torch.tensor(t))
    loss.backward()
    assert net.loss(x, t, training=True) == pytest.approx(loss.item(), abs=WITHIN[dtype])
    net.gradient(x, t)
    assert_same_gradients(net.chain, module, WITHIN[dtype])


@pytest.mark.parametrize(("name", "size"), [("simple_convnet", 28), ("lenet5", 32)])
def test_the_weights_are_those_of_the_model_of_that_name(name: str, size: int) -> None:
    net = getattr(networks, name)(seed=2)
    model = getattr(cl.models, name)()
    model.load_state_dict(to_torch(net).state_dict())
    x = np.random.default_rng(0).standard_normal((3, 1, size, size)).astype(np.float32)
    assert_close(net.predict(x), model.eval()(torch.tensor(x)), 1e-5)


@pytest.mark.parametrize("paper", [False, True])
def test_dropout_has_the_same_scales(paper: bool) -> None:
    layer = Dropout(0.25, rng=np.random.default_rng(0), paper=paper)
    module = to_torch(layer)
    x = np.ones((100, 400), np.float32)
    torch.manual_seed(0)
    for training in (True, False):
        ours, theirs = layer.forward(x, training=training), module.train(training)(torch.tensor(x))
        np.testing.assert_allclose(np.unique(ours), theirs.unique().numpy(), rtol=1e-6)
        assert ours.mean() == pytest.approx(theirs.mean().item(), abs=0.01)


def test_the_weights_are_copies() -> None:
    net = networks.simple_convnet(image_size=8)
    module = to_torch(net)
    net.params["conv1.W"][...] = 7
    assert float(module.conv1.weight.detach().max()) < 1


def test_torchs_random_numbers_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    to_torch(networks.residual_net(image_size=8))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_layer_of_ones_own_is_named() -> None:
    class Swish(activations.Tanh):
        """A layer that to_torch cannot know."""

    with pytest.raises(ConfigError) as error:
        to_torch(Network({"act": Swish()}, None))
    assert str(error.value) == "to_torch knows the layers of convolens.scratch, received a Swish"
