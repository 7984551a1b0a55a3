import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convolens.train.muon import QUINTIC, Muon, hidden_matrices, orthogonalize


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, 3),
        nn.Flatten(),
        nn.Linear(128, 6),
        nn.Linear(6, 3),
    )


def muon_group(parameters, **changes):
    group = {"params": parameters, "muon": True, "lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    return {**group, **changes}


def quintic(values: torch.Tensor) -> torch.Tensor:
    a, b, c = QUINTIC
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    return values


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 24), cols=st.integers(1, 24), seed=st.integers(0, 2**31))
def test_the_singular_values_go_through_the_quintic(rows, cols, seed):
    matrix = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))
    u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    expected = u @ torch.diag(quintic(s / s.norm())) @ vt
    torch.testing.assert_close(orthogonalize(matrix).double(), expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(8, 200), (200, 8), (32, 40)])
def test_the_result_is_nearly_orthogonal(shape):
    torch.manual_seed(0)
    s = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert s.min() > 0.68
    assert s.max() < 1.21


def test_the_band_of_singular_values_is_the_documented_one():
    ends = quintic(torch.logspace(-2.69897, 0, 20_001, dtype=torch.float64))
    assert 0.68 < ends.min() < 0.69
    assert 1.20 < ends.max() < 1.21


def test_zero_stays_zero_and_the_length_of_the_gradient_does_not_matter():
    assert orthogonalize(torch.zeros(3, 4)).abs().sum() == 0
    matrix = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalize(1e-3 * matrix), orthogonalize(matrix))


@pytest.mark.parametrize("shape", [(6, 10), (12, 5)])
def test_matrices_move_as_with_torchs_muon(shape):
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(4)]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = {
        ours: Muon([muon_group([ours])]),
        theirs: torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.1),
    }
    for gradient in gradients:
        for parameter, optimizer in optimizers.items():
            parameter.grad = gradient.clone()
            optimizer.step()
    # torch's runs in bfloat16, whose numbers have 8 bits.
    torch.testing.assert_close(ours, theirs, atol=4 * 0.02 * 0.02, rtol=0)
    assert (ours - start).abs().max() > 0.02


def test_a_kernel_is_the_matrix_of_its_output_channels():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 2, 3, 3).to(memory_format=torch.channels_last))
    matrix = nn.Parameter(kernel.detach().reshape(6, 18).clone())
    gradient = torch.randn(6, 2, 3, 3)
    kernel.grad = gradient.to(memory_format=torch.channels_last)
    matrix.grad = gradient.reshape(6, 18)
    for parameter in (kernel, matrix):
        Muon([muon_group([parameter])]).step()
    torch.testing.assert_close(kernel.reshape(6, 18), matrix)


def test_groups_that_are_not_muons_move_as_with_adamw():
    torch.manual_seed(0)
    start = torch.randn(5)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    numbers = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.1}
    own = Muon([{"params": [ours], "muon": False, "fused": True, **numbers}])
    other = torch.optim.AdamW([theirs], fused=True, **numbers)
    for _ in range(3):
        gradient = torch.randn(5)
        for parameter, optimizer in ((ours, own), (theirs, other)):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_hidden_matrices_leave_out_first_last_frozen_and_shared_ones():
    model = conv_net()
    assert [tuple(p.shape) for p in hidden_matrices(model)] == [(8, 4, 3, 3), (6, 128)]
    model[0].weight.requires_grad_(False)
    assert [tuple(p.shape) for p in hidden_matrices(model)] == [(8, 4, 3, 3), (6, 128)]
    model[2].weight.requires_grad_(False)
    assert [tuple(p.shape) for p in hidden_matrices(model)] == [(6, 128)]
    shared = nn.Linear(4, 4)
    tied = nn.Sequential(nn.Linear(4, 4), shared, nn.Sequential(shared), nn.Linear(4, 2))
    assert [id(p) for p in hidden_matrices(tied)] == [id(shared.weight)]
    assert hidden_matrices(nn.Linear(3, 2)) == []


def test_a_parameter_without_a_gradient_is_left_alone():
    kept, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.eye(2)
    Muon([muon_group([kept, moved])]).step()
    assert torch.equal(kept, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(2, 2))
