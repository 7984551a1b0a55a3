"""Tasks: what turns a network's outputs into a loss, metrics and pictures."""
