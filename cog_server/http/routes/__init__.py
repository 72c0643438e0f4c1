"""The HTTP front: one module per group of paths."""
