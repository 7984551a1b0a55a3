"""The NumPy floor: every layer by hand, forward and backward, and how networks of them learn."""
