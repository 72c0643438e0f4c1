"""The version of this distribution, read by setup.cfg and by all three rooms."""

__version__ = "0.1.0"
