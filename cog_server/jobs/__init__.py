"""Predictions at work, from their admission to their end. `runner.py` is the way in."""
