import numpy as np
import pytest
import torch

from convolens.data.base import MemoryPictures
from convolens.errors import ConfigError, ShapeError
from convolens.models import lenet5
from convolens.visual.embedding import embed, embedding, features_of
from convolens.visual.layers import maps_of

RNG = np.random.default_rng(0)


def test_features_are_what_the_layer_gives() -> None:
    torch.manual_seed(0)
    net = lenet5()
    pixels = torch.from_numpy(RNG.integers(0, 256, (5, 1, 32, 32), np.uint8))
    found = features_of(net, MemoryPictures(pixels), lambda p: p / 255, "act4", batch=2)
    expected = maps_of(net, pixels / 255, ["act4"])["act4"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ConfigError, match="does not call its layer 'act9'"):
        features_of(net, MemoryPictures(pixels), lambda p: p / 255, "act9")


def test_pca_is_the_singular_value_decomposition() -> None:
    features = RNG.normal(size=(40, 3, 4)) * 3
    found = embed(features)
    flat = features.reshape(40, 12)
    u, s, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    assert found.kept == pytest.approx((s[:2] ** 2).sum() / (s**2).sum())


def test_t_sne_keeps_groups_together_and_repeats() -> None:
    groups = np.repeat(np.arange(3), 12)
    features = 20 * np.eye(8)[groups] + RNG.normal(size=(36, 8))
    found = embed(features, "t-sne", seed=1)
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(1)] == groups).all()
    np.testing.assert_array_equal(embed(features, "t-sne", seed=1).points, found.points)


def test_a_picture_stands_where_its_point_is(places_of) -> None:
    pictures = RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    features = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    found = embed(features)
    figure = embedding(found, pictures, np.array([0, 1, 1]), ["cat", "dog"])
    assert "3 of them shown" in figure.caption
    assert "hold 100% of the variance" in figure.caption
    spread = found.points.max(0) - found.points.min(0)
    expected = (found.points - found.points.min(0)) / spread
    for picture, point in zip(pictures, expected, strict=True):
        ((top, left),) = places_of(picture.transpose(1, 2, 0), figure.pixels)
        assert (left - 40) / 968 == pytest.approx(point[0], abs=0.002)
        assert (968 + 84 - top) / 968 == pytest.approx(point[1], abs=0.002)


def test_what_cannot_be_laid_out() -> None:
    with pytest.raises(ShapeError, match="at least 3 pictures with 2 finite numbers"):
        embed(np.ones((2, 5)))
    with pytest.raises(ShapeError, match="1 not finite"):
        embed(np.array([[1.0, np.nan], [1, 2], [3, 4]]))
    with pytest.raises(ConfigError, match="method must be pca or t-sne, received 'umap'"):
        embed(RNG.normal(size=(5, 5)), "umap")
    found = embed(RNG.normal(size=(5, 5)))
    with pytest.raises(ShapeError, match="5 points need as many pictures and labels"):
        embedding(found, np.zeros((4, 1, 8, 8), np.uint8), np.zeros(5, int), ["a"])
