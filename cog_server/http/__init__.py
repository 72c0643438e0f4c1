"""The HTTP front: predictions, health and the manual over HTTP. `app.py` is the way in.

Of the rest of the server it knows the port in `jobs/port.py`, and the values that go through it.
"""
