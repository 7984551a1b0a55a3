from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convolens.errors import ConfigError, ShapeError
from convolens.scratch.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop

rates = st.floats(1e-4, 0.5)
shares = st.floats(0.01, 0.999)
epsilons = st.sampled_from([1e-10, 1e-8, 1e-4, 0.1])
KINDS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
Tensors = list[torch.Tensor]


def pair(kind: str, lr: float, a: float, b: float, eps: float) -> tuple[object, Callable]:
    """One of ours, and what makes torch's of a list of tensors."""
    match kind:
        case "sgd":
            return SGD(lr), lambda p: torch.optim.SGD(p, lr=lr)
        case "momentum":
            return Momentum(lr, a), lambda p: torch.optim.SGD(p, lr=lr, momentum=a)
        case "nesterov":
            return Nesterov(lr, a), lambda p: torch.optim.SGD(p, lr=lr, momentum=a, nesterov=True)
        case "adagrad":
            return AdaGrad(lr, eps), lambda p: torch.optim.Adagrad(p, lr=lr, eps=eps)
        case "rmsprop":
            return RMSprop(lr, a, eps), lambda p: torch.optim.RMSprop(p, lr=lr, alpha=a, eps=eps)
        case _:
            return Adam(lr, a, b, eps), lambda p: torch.optim.Adam(p, lr=lr, betas=(a, b), eps=eps)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(lr=rates, a=shares, b=shares, eps=epsilons, seed=st.integers(0, 1000))
def test_every_step_is_torchs(
    kind: str, lr: float, a: float, b: float, eps: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    params = {"fc.W": rng.normal(size=(3, 4)), "fc.b": rng.normal(size=4)}
    tensors = [torch.tensor(value) for value in params.values()]
    ours, make = pair(kind, lr, a, b, eps)
    theirs = make(tensors)
    for step in range(6):
        # The gradients depend on the weights, so an error would grow; one of them is 0 at first.
        grads = {name: w * (step > 0) + rng.normal(size=w.shape) for name, w in params.items()}
        grads["fc.b"][0] *= step > 2
        for tensor, g in zip(tensors, grads.values(), strict=True):
            tensor.grad = torch.tensor(g)
        ours.update(params, grads)
        theirs.step()
        for w, tensor in zip(params.values(), tensors, strict=True):
            np.testing.assert_allclose(w, tensor.numpy(), rtol=1e-10, atol=1e-12)


def test_nesterov_takes_its_gradient_where_the_speed_leads() -> None:
    """Against the method as Sutskever et al. write it, equations 3 and 4, on a bowl."""
    curvature, lr, momentum = np.array([0.1, 2.0]), 0.1, 0.9
    theta, v = np.array([-7.0, 2.0]), np.zeros(2)
    ours, w = Nesterov(lr, momentum), {"w": theta.copy()}
    for _ in range(20):
        v = momentum * v - lr * curvature * (theta + momentum * v)
        theta = theta + v
        ours.update(w, {"w": curvature * w["w"]})
        np.testing.assert_allclose(w["w"], theta + momentum * v, rtol=1e-12)


def test_momentum_keeps_its_speed_when_the_rate_falls() -> None:
    optimizer, w = Momentum(lr=1.0, momentum=0.5), {"w": np.zeros(1)}
    optimizer.update(w, {"w": np.ones(1)})
    optimizer.lr = 1e-12
    optimizer.update(w, {"w": np.ones(1)})
    assert w["w"][0] == pytest.approx(-1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_change_in_place_and_keep_their_dtype(kind: str) -> None:
    w = np.ones(3, np.float32)
    optimizer, _ = pair(kind, 0.1, 0.9, 0.99, 1e-8)
    optimizer.update({"w": w}, {"w": np.ones(3, np.float32)})
    assert w.dtype == np.float32
    assert (w < 1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(lr=0), "lr must be greater than 0, received 0"),
        (lambda: SGD(lr=float("nan")), "lr must be greater than 0, received nan"),
        (lambda: Momentum(momentum=1), "momentum must be at least 0 and less than 1, received 1"),
        (lambda: RMSprop(decay=-0.1), "decay must be at least 0 and less than 1, received -0.1"),
        (lambda: Adam(beta2=2), "beta2 must be at least 0 and less than 1, received 2"),
        (lambda: AdaGrad(eps=0), "eps must be greater than 0, received 0"),
    ],
)
def test_wrong_numbers_are_named(make: Callable, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


def test_gradients_that_do_not_belong_to_the_parameters_are_named() -> None:
    with pytest.raises(ShapeError, match=r"only one of them has fc\.b"):
        SGD().update({"fc.W": np.ones(1), "fc.b": np.ones(1)}, {"fc.W": np.ones(1)})
    with pytest.raises(ShapeError, match=r"fc\.W must have its shape \(2,\), received \(3,\)"):
        SGD().update({"fc.W": np.ones(2)}, {"fc.W": np.ones(3)})
