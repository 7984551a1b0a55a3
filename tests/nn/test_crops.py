import torch

from convolens.nn.crops import crop_rows, crops, rows_to_map


def test_windows_in_the_order_of_their_places() -> None:
    x = torch.randn(2, 3, 5, 7)
    windows = crops(x, (3, 4))
    expected = [x[n, :, i : i + 3, j : j + 4] for n in range(2) for i in range(3) for j in range(4)]
    assert torch.equal(windows, torch.stack(expected))
    assert torch.equal(crop_rows(x, (3, 4)), windows.flatten(1))


def test_what_is_computed_of_a_window_returns_to_its_place() -> None:
    for sides, sizes in (((5,), (2,)), ((5, 7), (3, 4)), ((4, 5, 3), (2, 2, 3))):
        x = torch.randn(2, 3, *sides)
        back = rows_to_map(crop_rows(x, sizes), x, sizes)
        assert back.shape == (2, 3 * torch.Size(sizes).numel(), *torch.Size(
            side - size + 1 for side, size in zip(sides, sizes, strict=True)
        ))  # fmt: skip
        first = x[(0, slice(None), *(slice(size) for size in sizes))]
        assert torch.equal(back[(0, slice(None), *([0] * len(sides)))], first.flatten())
