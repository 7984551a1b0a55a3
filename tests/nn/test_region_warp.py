import torch

from convolens.nn.region_warp import warp_regions


def test_the_box_lies_sixteen_of_227_pixels_inside() -> None:
    picture = torch.zeros(1, 1, 400, 400)
    picture[..., 100:200, 150:250] = 1
    (region,) = warp_regions(picture, [torch.tensor([[150.0, 100, 250, 200]])], 227)
    inside = region[0, 17:210, 17:210]
    assert (inside > 0.99).all()
    assert region.sum() <= 195 * 195 + 4 * 195  # and nothing around it, but for the border


def test_what_is_beyond_the_picture_is_its_mean() -> None:
    picture = torch.ones(1, 3, 40, 40)
    (region,) = warp_regions(picture, [torch.tensor([[0.0, 0, 40, 40]])], 227)
    assert (region[:, :12] == 0).all()
    torch.testing.assert_close(region[:, 20:-20, 20:-20], torch.ones(3, 187, 187))


def test_regions_follow_their_pictures() -> None:
    pictures = torch.arange(2.0)[:, None, None, None].expand(2, 1, 20, 20).contiguous()
    boxes = [torch.tensor([[4.0, 4, 9, 9]]), torch.tensor([[4.0, 4, 9, 9], [8, 8, 12, 12]])]
    regions = warp_regions(pictures, boxes, 8)
    assert regions.mean(dim=(1, 2, 3)).tolist() == [0, 1, 1]


def test_a_region_without_area_stays_finite() -> None:
    picture = torch.randn(1, 1, 20, 20)
    assert warp_regions(picture, [torch.tensor([[4.0, 4, 4, 9]])], 8).isfinite().all()
