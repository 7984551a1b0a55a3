"""Muon: momentum whose every matrix is made orthogonal before it is applied."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

# Chosen by Jordan for the steepest slope at zero: small singular values rise fastest.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5

_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def orthogonalize(matrix: Tensor) -> Tensor:
    """U·S'·Vᵀ for the matrix U·S·Vᵀ, where every singular value in S' is about 1.

    Five Newton–Schulz steps X ← a·X + (b·A + c·A²)·X, A = X·Xᵀ, from X = matrix / ‖matrix‖. A
    singular value of at least 0.002 of the norm ends between 0.68 and 1.21; a smaller one stays
    smaller.

    Source: Jordan et al. (2024), Muon, https://kellerjordan.github.io/posts/muon/.
    Args:
        matrix: any real matrix.
    Shape: matrix (R, C) -> (R, C).
    Returns: the matrix nearly orthogonal; zero where the matrix is zero.
    Deviates: computes in float32 except on a GPU, since bfloat16 is slower on CPUs.
    Example:
        >>> orthogonalize(torch.diag(torch.tensor([5.0, 1.0]))).shape
        torch.Size([2, 2])
    """
    a, b, c = QUINTIC
    x = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.mT
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trainable weights of all linear and convolution layers but the first and the last.

    First and last go by the order in which the model registers its layers.
    """
    weights: dict[int, nn.Parameter] = {}
    for module in model.modules():
        # A parametrized weight is computed anew in every forward pass: no Parameter.
        if isinstance(module, _LAYERS) and isinstance(module.weight, nn.Parameter):
            weights.setdefault(id(module.weight), module.weight)
    return [weight for weight in list(weights.values())[1:-1] if weight.requires_grad]


class Muon(Optimizer):
    """M ← μ·M + (1 − μ)·G; W ← (1 − lr·λ)·W − lr·√max(1, R/C)·orthogonalize((1 − μ)·G + μ·M).

    A weight (O, I, kh, kw) of a convolution is the matrix of R = O rows and C = I·kh·kw columns.
    Groups of parameters with "muon" false are updated by AdamW.

    Source: Jordan et al. (2024), Muon, https://kellerjordan.github.io/posts/muon/, and its code,
        https://github.com/KellerJordan/Muon.
    Args:
        groups: for a Muon group: params, lr, momentum, weight_decay, and muon = True; for an
            AdamW group: params, lr, betas, eps, weight_decay, fused, and muon = False.
    Deviates: the scale is √max(1, R/C) of the flattened matrix, as the write-up and torch have
        it; Jordan's code takes the last two dimensions, which are the kernel's for a convolution.
        A parameter without a gradient is left alone. A grouped convolution is one matrix.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                for weight in used:
                    self._step_matrix(weight, group)
            elif used:
                self._step_adamw(used, group)
        return loss

    def _step_matrix(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient = weight.grad
        if gradient is None:
            return
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(buffer, group["momentum"]).reshape(len(weight), -1)
        scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(orthogonalize(update).reshape(weight.shape), alpha=-group["lr"] * scale)

    def _step_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                device = parameter.device if group["fused"] else None
                state["step"] = torch.zeros((), dtype=torch.float32, device=device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
