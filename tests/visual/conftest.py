from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Places = list[tuple[int, int]]


@pytest.fixture(scope="session")
def places_of() -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], Places]:
    """Every (top, left) at which one picture stands, pixel by pixel, inside another."""

    def find(part: NDArray[np.uint8], whole: NDArray[np.uint8]) -> Places:
        first = np.ascontiguousarray(part[0]).tobytes()
        height, width = part.shape[:2]
        places = []
        for top in range(whole.shape[0] - height + 1):
            row = whole[top].tobytes()
            at = row.find(first)
            while at >= 0:
                here = whole[top : top + height, at // 3 : at // 3 + width]
                if at % 3 == 0 and np.array_equal(here, part):
                    places.append((top, at // 3))
                at = row.find(first, at + 1)
        return places

    return find
