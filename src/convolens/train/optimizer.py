"""Optimizers: how the weights follow the gradient."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from convolens.errors import ConfigError, RunError
from convolens.train.bounds import check_number, check_word
from convolens.train.muon import Muon, hidden_matrices
from convolens.train.penalty import is_weight
from convolens.train.rates import apply_rates, parse_rates

OptimizerName = Literal[
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs", "muon"
]

# What each optimizer uses, and the number that stands in for None.
DEFAULTS: dict[str, dict[str, float | int | bool]] = {
    "sgd": {"lr": 0.1, "weight_decay": 0.0},
    "momentum": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "nesterov": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "adagrad": {"lr": 0.01, "eps": 1e-10, "weight_decay": 0.0},
    "rmsprop": {"lr": 1e-3, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
    "adam": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "lbfgs": {"lr": 1.0, "history_size": 10, "max_iter": 10, "line_search": True},
    "muon": {
        "lr": 0.02,
        "momentum": 0.95,
        "aux_lr": 3e-3,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-10,
        "weight_decay": 0.0,
    },
}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """An optimizer and its numbers; None takes the default of that optimizer (`DEFAULTS`).

    Numbers that an optimizer does not use (`fields_used`) have no effect on it.

    Args:
        name: "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs" or
            "muon".
        lr: base learning rate; the schedule multiplies it.
        momentum: for momentum, nesterov, rmsprop and muon, the share of the last update kept.
        alpha: for rmsprop, the decay of the mean squared gradient.
        beta1, beta2: for adam, adamw and muon, the decay of the mean gradient and of its square.
        eps: what is added to a denominator.
        weight_decay: decoupled for adamw and muon, W ← W − lr·λ·W; for the others λ·W is added
            to the gradient, as torch does. lbfgs has none: use the l2 penalty.
        decay_norms: whether biases and the scales and shifts of norms decay too.
        rates: factors on the learning rate of some parameters, as patterns of names, such as
            "fc.*:10,*.bias:2"; of several that match, the first holds. λ is divided by the
            factor, so that lr·λ is the same for all. Not for lbfgs.
        aux_lr: for muon, the learning rate of AdamW for all that is no hidden matrix.
        history_size: for lbfgs, past updates remembered.
        max_iter: for lbfgs, updates per step, all on the same batch.
        line_search: for lbfgs, strong Wolfe line search; without it every update has length lr.
    Raises:
        ConfigError: when the name is unknown or a number is out of range.
    """

    name: OptimizerName = "adam"
    lr: float | None = None
    momentum: float | None = None
    alpha: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float | None = None
    weight_decay: float | None = None
    decay_norms: bool = False
    rates: str = ""
    aux_lr: float | None = None
    history_size: int | None = None
    max_iter: int | None = None
    line_search: bool | None = None

    def __post_init__(self) -> None:
        check_word("optimizer.name", self.name, get_args(OptimizerName))
        for field_name in ("lr", "aux_lr", "eps"):
            self._check(field_name, above=0)
        for field_name in ("momentum", "alpha", "beta1", "beta2"):
            self._check(field_name, least=0, below=1)
        if self.name == "nesterov":
            self._check("momentum", above=0, below=1)
        self._check("weight_decay", least=0)
        self._check("history_size", least=1, whole=True)
        self._check("max_iter", least=1, whole=True)
        if parse_rates(self.rates) and self.name == "lbfgs":
            raise ConfigError("optimizer.rates cannot be used with lbfgs, which has one rate")
        for field_name in ("decay_norms", "line_search"):
            value = getattr(self, field_name)
            if not isinstance(value, bool | None):
                raise ConfigError(
                    f"optimizer.{field_name} must be true or false, received {value!r}"
                )

    def _check(
        self,
        field_name: str,
        *,
        least: float | None = None,
        above: float | None = None,
        below: float | None = None,
        whole: bool = False,
    ) -> None:
        value = getattr(self, field_name)
        if value is not None:
            name = f"optimizer.{field_name}"
            check_number(name, value, least=least, above=above, below=below, whole=whole)


def fields_used(name: OptimizerName) -> tuple[str, ...]:
    """The fields of OptimizerConfig that this optimizer uses.

    Example:
        >>> fields_used("momentum")
        ('name', 'lr', 'momentum', 'weight_decay', 'decay_norms', 'rates')
    """
    groups = ("decay_norms", "rates") if "weight_decay" in DEFAULTS[name] else ()
    return ("name", *DEFAULTS[name], *groups)


def resolved(config: OptimizerConfig) -> OptimizerConfig:
    """The same optimizer with every number it uses written out, and None for the others.

    Example:
        >>> resolved(OptimizerConfig(name="sgd")).lr
        0.1
    """
    complete = OptimizerConfig(name=config.name, decay_norms=config.decay_norms, rates=config.rates)
    numbers = {
        field_name: default if getattr(config, field_name) is None else getattr(config, field_name)
        for field_name, default in DEFAULTS[config.name].items()
    }
    return replace(complete, **cast("dict[str, Any]", numbers))


def needs_closure(config: OptimizerConfig) -> bool:
    """Whether a step evaluates the loss more than once, so that it needs `step(closure)`."""
    return config.name == "lbfgs"


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimizer of a model's trainable parameters, each shared one counted once.

    Call it when the model has its final device and memory format. Every group of parameters
    remembers its base learning rate as "initial_lr" and the name as "optimizer".

    Args:
        model: the network; the order of its parameters is that of `model.parameters()`.
        config: the optimizer and its numbers.
    Returns: an optimizer of torch.optim, or `Muon`; fused where torch can.
    Raises:
        ConfigError: when the model has no trainable parameters, or a pattern of `rates` matches
            none of them.
    Deviates: unless decay_norms is set, weight decay spares parameters of one dimension (biases,
        norms), which torch does not. Muon leaves the first and the last weight of the network to
        AdamW, after Jordan's write-up, but it takes hidden linear layers along, which his advice
        for ConvNets gives to AdamW.
    Example:
        >>> type(make_optimizer(nn.Linear(3, 2), OptimizerConfig(name="adam"))).__name__
        'Adam'
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError(
            f"{type(model).__name__} has no trainable parameters",
            hint="Set requires_grad of those that should learn.",
        )
    complete = resolved(config)
    kind, options = _kind_and_options(complete, parameters[0].device.type, _can_fuse(parameters))
    groups = _groups(model, parameters, complete)
    if complete.rates:
        groups = apply_rates(model, groups, complete.rates, cast("float", complete.lr))
    optimizer: Optimizer = _light(kind)(groups, **options)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
        group["optimizer"] = complete.name
    return optimizer


def _kind_and_options(
    c: OptimizerConfig, device: str, fused: bool
) -> tuple[type[Optimizer], dict[str, Any]]:
    """torch's class for all but muon, and its arguments beside the parameters."""
    match c.name:
        case "sgd":
            return torch.optim.SGD, {"lr": c.lr, "fused": fused}
        case "momentum" | "nesterov":
            nesterov = c.name == "nesterov"
            options = {"lr": c.lr, "momentum": c.momentum, "nesterov": nesterov, "fused": fused}
            return torch.optim.SGD, options
        case "adagrad":
            # Only the CPU has had a fused Adagrad in every release of torch that we support.
            fused = fused and device == "cpu"
            return torch.optim.Adagrad, {"lr": c.lr, "eps": c.eps, "fused": fused}
        case "rmsprop":
            options = {"lr": c.lr, "alpha": c.alpha, "eps": c.eps, "momentum": c.momentum}
            return torch.optim.RMSprop, options
        case "lbfgs":
            search = "strong_wolfe" if c.line_search else None
            options = {"lr": c.lr, "history_size": c.history_size, "max_iter": c.max_iter}
            return _LBFGS, {**options, "line_search_fn": search}
        case "adam" | "adamw":
            kind = torch.optim.Adam if c.name == "adam" else torch.optim.AdamW
            betas = (c.beta1, c.beta2)
            return kind, {"lr": c.lr, "betas": betas, "eps": c.eps, "fused": fused}
        case "muon":
            return Muon, {}


def _groups(
    model: nn.Module, parameters: list[nn.Parameter], c: OptimizerConfig
) -> list[dict[str, Any]]:
    """The parameters by what is done to them; empty groups are left out."""
    if c.name == "lbfgs":
        return [{"params": parameters}]
    if c.name != "muon":
        return _decay_groups(parameters, c)
    matrices = hidden_matrices(model)
    hidden = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in hidden]
    muon = {"muon": True, "lr": c.lr, "momentum": c.momentum, "weight_decay": c.weight_decay}
    betas, fused = (c.beta1, c.beta2), _can_fuse(others)
    adamw = {"muon": False, "lr": c.aux_lr, "betas": betas, "eps": c.eps, "fused": fused}
    return ([{"params": matrices, **muon}] if matrices else []) + [
        {**group, **adamw} for group in _decay_groups(others, c)
    ]


def _decay_groups(parameters: list[nn.Parameter], c: OptimizerConfig) -> list[dict[str, Any]]:
    if not c.weight_decay or c.decay_norms:
        groups = [{"params": parameters, "weight_decay": c.weight_decay}]
    else:
        groups = [
            {"params": [p for p in parameters if is_weight(p)], "weight_decay": c.weight_decay},
            {"params": [p for p in parameters if not is_weight(p)], "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


class _LBFGS(torch.optim.LBFGS):
    """torch's LBFGS for any memory format: torch's own refuses channels-last gradients."""

    def _gather_flat_grad(self) -> Tensor:
        flat = [
            (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
            for p in self.param_groups[0]["params"]
        ]
        return torch.cat(flat)


def _light(kind: type[Optimizer]) -> type[Optimizer]:
    """The same optimizer, made and stepped without importing torch's compiler.

    torch wraps these methods so that `torch.compile` handles them, and the wrappers import the
    compiler, 2 s in all, on first use. What they wrap is the arithmetic itself.
    """
    body: dict[str, Any] = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("add_param_group", "zero_grad", "state_dict")
    }
    body["step"] = _as_they_lie(inspect.unwrap(kind.step))
    body["load_state_dict"] = _load_state_dict
    body["__module__"] = kind.__module__
    return cast("type[Optimizer]", type(kind.__name__.lstrip("_"), (kind,), body))


def _as_they_lie(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, with channels-last filters shown to it in the order in which they lie in memory.

    torch's fused kernels for CPUs copy gradients that are not contiguous before they use them.
    """

    @torch.no_grad()
    def stepped(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        if closure is not None:  # it computes gradients in between
            return step(self, closure)
        turned = [
            p for g in self.param_groups if g.get("fused") for p in g["params"] if _lies_last(p)
        ]
        kept = [(p, p.data, p.grad) for p in turned]
        for p in turned:
            _show(self, p, p.data.permute(0, 2, 3, 1), p.grad, (0, 2, 3, 1))
        try:
            return step(self)
        finally:
            for p, data, grad in kept:
                _show(self, p, data, None, (0, 3, 1, 2))
                p.grad = grad

    return stepped


def _lies_last(p: Tensor) -> bool:
    return (
        p.device.type == "cpu"
        and p.ndim == 4
        and not p.is_contiguous()
        and p.grad is not None
        and p.stride() == p.grad.stride()
        and p.is_contiguous(memory_format=torch.channels_last)
    )


def _show(
    optimizer: Optimizer, p: Tensor, data: Tensor, grad: Tensor | None, order: tuple[int, ...]
) -> None:
    """Gives a parameter this data, and gradient and state in this order of axes."""
    state = optimizer.state.get(p, {})
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == p.shape:
            state[name] = value.permute(order)
    p.grad = None
    p.data = data
    p.grad = None if grad is None else grad.permute(order)


def _load_state_dict(self: Optimizer, state_dict: dict[str, Any]) -> None:
    """Loads a state, each tensor laid out in memory as its parameter is.

    Fused kernels walk the memory of parameter and state side by side. A state read from a file
    is contiguous, so beside channels-last weights it would be applied to the wrong ones.
    """
    fused = [group.get("fused") for group in self.param_groups]
    for ours, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
        if ours.get("optimizer") != saved.get("optimizer"):
            raise RunError(
                f"the saved state is one of {saved.get('optimizer')}, "
                f"this optimizer is {ours.get('optimizer')}"
            )
    try:
        inspect.unwrap(Optimizer.load_state_dict)(self, state_dict)
    except (ValueError, KeyError) as error:
        raise RunError(f"the saved state is not one of this optimizer: {error}") from error
    for group, was_fused in zip(self.param_groups, fused, strict=True):
        if was_fused is not None:
            group["fused"] = was_fused
    for parameter, state in self.state.items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.ndim == 0 or isinstance(self, _LBFGS):
                continue
            if value.shape != parameter.shape:
                raise RunError(
                    f"the saved state is not one of this optimizer: {name} has shape "
                    f"{tuple(value.shape)}, its parameter {tuple(parameter.shape)}"
                )
            state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
