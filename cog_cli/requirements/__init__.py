"""The packages of a model, as cog.yaml and its requirements file name them. `packages.py` is the way in."""
