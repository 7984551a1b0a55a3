from collections import OrderedDict

import torch

from convolens.nn.feature_pyramid import FeaturePyramid


def test_torchvision_gives_the_same_maps_at_odd_sizes() -> None:
    from torchvision.ops.feature_pyramid_network import (
        FeaturePyramidNetwork,
        LastLevelMaxPool,
    )

    own = FeaturePyramid((4, 8, 16), 6)
    theirs = FeaturePyramidNetwork([4, 8, 16], 6, LastLevelMaxPool())
    for mine, other in ((own.lateral, theirs.inner_blocks), (own.output, theirs.layer_blocks)):
        for block, conv in zip(other, mine, strict=True):
            block[0].load_state_dict(conv.state_dict())
    sizes = ((4, 13, 19), (8, 7, 10), (16, 4, 5))
    maps = [torch.randn(2, *size) for size in sizes]
    expected = theirs(OrderedDict((str(i), m) for i, m in enumerate(maps)))
    for mine, other in zip(own(maps), expected.values(), strict=True):
        torch.testing.assert_close(mine, other)
