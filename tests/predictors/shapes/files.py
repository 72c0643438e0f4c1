import os
import tempfile

from cog import Path


def text_file(text):
    """A new file that holds `text`."""
    handle, name = tempfile.mkstemp(suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return Path(name)
