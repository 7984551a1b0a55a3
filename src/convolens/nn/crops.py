"""All windows of a map, as a batch of their own."""

from collections.abc import Sequence

from torch import Tensor


def crops(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Every window of a map, with a step of one position, as one batch.

    Args:
        sizes: the window's side along each spatial axis.
    Shape: x (N, C, H, W) -> (N·H'·W', C, h, w), H' = H − h + 1; likewise with one or three axes.
    Example:
        >>> crops(torch.zeros(2, 3, 7, 9), (7, 7)).shape
        torch.Size([6, 3, 7, 7])
    """
    for axis, size in enumerate(sizes, 2):
        x = x.unfold(axis, size, 1)
    axes = len(sizes)
    # (N, C, H', W', h, w) -> (N, H', W', C, h, w)
    return x.movedim(1, 1 + axes).flatten(0, axes)


def crop_rows(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Every window of a map as the vector that flattening it gives: (N·H'·W', C·h·w)."""
    return crops(x, sizes).flatten(1)


def rows_to_map(rows: Tensor, x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Puts what was computed of each window of x back in its place.

    Shape: rows (N·H'·W', F), x (N, C, H, W) -> (N, F, H', W')
    Example:
        >>> x = torch.zeros(2, 3, 7, 9)
        >>> rows_to_map(crop_rows(x, (7, 7)), x, (7, 7)).shape
        torch.Size([2, 147, 1, 3])
    """
    positions = [length - size + 1 for length, size in zip(x.shape[2:], sizes, strict=True)]
    return rows.reshape(x.shape[0], *positions, rows.shape[1]).movedim(-1, 1)
