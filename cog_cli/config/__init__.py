"""cog.yaml: found, read, checked, and given to the rest as frozen values."""

from cog_cli.config.load import LoadedConfig, Locate, load_config
from cog_cli.config.model import Build, Concurrency, Config, RunItem, SecretMount, Weight, WeightSource
from cog_cli.config.source import find_config

__all__ = [
    "Build",
    "Concurrency",
    "Config",
    "LoadedConfig",
    "Locate",
    "RunItem",
    "SecretMount",
    "Weight",
    "WeightSource",
    "find_config",
    "load_config",
]
