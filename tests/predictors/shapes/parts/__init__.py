from .base import Base
from .constants import *

__all__ = ["ANGLES", "Base", "EXTRA"]
EXTRA = ANGLES + [270]
