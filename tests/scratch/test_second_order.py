import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from convolens.errors import DataError
from convolens.scratch.second_order import lbfgs, newton


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    return float(optimize.rosen(x)), optimize.rosen_der(x)


starts = st.lists(st.floats(-3, 3), min_size=2, max_size=6)


@settings(max_examples=30, deadline=None)
@given(start=starts)
def test_rosenbrocks_valley(start: list[float]) -> None:
    """In more than three dimensions there is a second minimum, which scipy may find too."""
    for found in (newton(rosenbrock, optimize.rosen_hess, start), lbfgs(rosenbrock, start)):
        assert found.converged
        assert np.abs(optimize.rosen_der(found.x)).max() <= 1e-8
        if len(start) <= 3:
            np.testing.assert_allclose(found.x, 1.0, atol=1e-6)
            theirs = optimize.minimize(rosenbrock, start, jac=True, method="L-BFGS-B")
            np.testing.assert_allclose(found.x, theirs.x, atol=1e-2)


def test_newton_takes_few_steps_and_lbfgs_not_many_more_than_scipy() -> None:
    start = np.array([-1.2, 1.0])
    assert newton(rosenbrock, optimize.rosen_hess, start).num_steps <= 25
    theirs = optimize.minimize(rosenbrock, start, jac=True, method="L-BFGS-B")
    assert lbfgs(rosenbrock, start).num_steps <= 2 * theirs.nit


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 8))
def test_a_bowl_is_solved_as_linear_equations(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    H, b = root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)

    def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(x @ H @ x / 2 - b @ x), H @ x - b

    exact = np.linalg.solve(H, b)
    found = newton(bowl, lambda _: H, np.zeros(size))
    assert found.num_steps <= 2  # one, and one more where rounding left more than the tolerance
    np.testing.assert_allclose(found.x, exact, atol=1e-6)
    np.testing.assert_allclose(lbfgs(bowl, np.zeros(size)).x, exact, atol=1e-5)


def test_logistic_regression_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    t = (X @ np.array([1.0, -2.0, 0.5, 0.0]) + rng.normal(size=120) > 0).astype(float)

    def f(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ w
        p = 1 / (1 + np.exp(-z))
        loss = np.logaddexp(0, z).sum() - t @ z + w @ w / 2
        return float(loss), X.T @ (p - t) + w

    def hessian(w: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-X @ w))
        return X.T * (p * (1 - p)) @ X + np.eye(4)

    theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-12, max_iter=1000).fit(X, t)
    for found in (newton(f, hessian, np.zeros(4)), lbfgs(f, np.zeros(4))):
        assert found.converged
        np.testing.assert_allclose(found.x, theirs.coef_[0], atol=1e-6)


def test_newton_leaves_a_saddle() -> None:
    """At (0.01, 1) the Hessian of x⁴ − x² + y² has a negative eigenvalue: −H⁻¹∇f would climb."""

    def saddle(v: np.ndarray) -> tuple[float, np.ndarray]:
        x, y = v
        return float(x**4 - x**2 + y**2), np.array([4 * x**3 - 2 * x, 2 * y])

    found = newton(saddle, lambda v: np.diag([12 * v[0] ** 2 - 2, 2.0]), np.array([0.01, 1.0]))
    assert found.converged
    np.testing.assert_allclose(found.x, [0.5**0.5, 0.0], atol=1e-8)


def test_the_search_says_when_it_has_not_arrived() -> None:
    found = lbfgs(rosenbrock, np.array([-1.2, 1.0]), max_steps=3)
    assert (found.num_steps, found.converged) == (3, False)


def test_a_beginning_that_is_not_finite_is_named() -> None:
    with pytest.raises(DataError, match="must be finite where the search begins, f is nan"):
        lbfgs(lambda x: (float("nan"), x), np.zeros(2))
