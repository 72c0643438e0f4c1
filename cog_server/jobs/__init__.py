"""Predictions at work, from their admission to their end. `port.py` is what fronts see of it."""
