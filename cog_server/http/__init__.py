"""The HTTP front: predictions, health and the manual over HTTP. `app.py` is the way in."""
