"""Blocks that PyTorch does not have, and kernels for those that it has."""
