"""Engines build images and run them. Each is one module that keeps the port in `base`."""
