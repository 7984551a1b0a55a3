import pytest
import torch
from torch.nn import functional as F

from convolens.errors import ConfigError
from convolens.nn.radial_basis import RadialBasis

CODES = [(1, -1, 1), (-1, -1, 1), (1, 1, -1), (-1, 1, 1)]


def test_outputs_are_negative_squared_distances() -> None:
    torch.manual_seed(0)
    layer = RadialBasis(CODES).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    expected = -torch.cdist(x, torch.tensor(CODES, dtype=torch.float64)).square()
    torch.testing.assert_close(layer(x), expected)
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_code_is_nearest_to_itself() -> None:
    z = RadialBasis(CODES)(torch.tensor(CODES, dtype=torch.float32))
    assert z.diagonal().tolist() == [0] * 4
    assert z.argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_cross_entropy_is_the_papers_criterion_without_its_constant() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    z = RadialBasis(CODES).double()(x)
    y = -z  # the paper's outputs
    right = y[torch.arange(6), target]
    for j, tolerance in ((5.0, 1.0), (60.0, 1e-12)):
        # Equation 9; e^-j is for pictures of no class.
        rest = torch.full((6, 1), -j, dtype=torch.float64)
        criterion = (right + torch.logsumexp(torch.cat([rest, -y], dim=1), dim=1)).mean()
        assert 0 <= criterion - F.cross_entropy(z, target) < tolerance


def test_codes_do_not_train_and_stay_with_the_weights() -> None:
    layer = RadialBasis(CODES)
    assert list(layer.parameters()) == []
    assert layer.state_dict()["codes"].tolist() == [[*map(float, code)] for code in CODES]


@pytest.mark.parametrize("codes", [[], [(1, -1), (1,)]])
def test_codes_of_different_lengths_are_refused(codes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError, match="codes must be one or more of equal length, received"):
        RadialBasis(codes)
