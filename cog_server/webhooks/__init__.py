"""Webhooks: what is said about a prediction to the URL that its request named. `sender.py` is the way in."""
