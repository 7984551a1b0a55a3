import numpy as np

from convolens.visual.panels import fitted, shown

RNG = np.random.default_rng(0)


def test_small_pictures_keep_their_pixels() -> None:
    picture = RNG.integers(0, 256, (1, 5, 7), np.uint8)
    large = fitted(picture, 120)
    assert large.shape == (85, 119, 3)
    np.testing.assert_array_equal(large, shown(picture, 120))
    np.testing.assert_array_equal(large[::17, ::17, 0], picture[0])


def test_others_are_scaled_to_the_size_and_keep_their_proportions() -> None:
    for height, width in ((60, 90), (224, 112)):
        picture = np.full((3, height, width), 99, np.uint8)
        large = fitted(picture, 120)
        assert max(large.shape[:2]) == 120
        assert abs(large.shape[0] / large.shape[1] - height / width) < 0.02
        assert (large == 99).all()
