"""Every number of a network before it runs."""
