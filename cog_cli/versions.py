"""Versions of what every build brings along, pinned in one place."""

UV_VERSION = "0.13.9"
UV_IMAGE = f"ghcr.io/astral-sh/uv:{UV_VERSION}"

# Debian release of the official Python images. Bookworm, not the newest: packages that public models name
# (libgl1-mesa-glx) are gone from trixie.
# docs/decisions/032-debian-bookworm.md
DEBIAN = "bookworm"

# Interpreter of the server's own environment where the base image has none that is new enough.
SERVER_PYTHON = "3.12"
