"""The training engine: configuration, loop, plan, optimizers, checkpoints, the Run's folder."""
