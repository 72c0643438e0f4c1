"""`read_ca_bundle`: the certificates a build must trust, in whatever form they were given."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

import certifi

from cog_cli.errors import CogError

_BEGIN = "-----BEGIN CERTIFICATE-----"
_MAX_BYTES = 16 * 1024 * 1024


def read_ca_bundle(given: str) -> str:
    """Give a complete PEM bundle: the certificates given and the public ones.

    `given` is a file, a folder of .crt and .pem files, PEM text, or PEM in base64. Raises CogError.
    """
    own = _read(given)
    if _BEGIN not in own:
        raise CogError(
            "--ca-cert holds no certificate in PEM form",
            hint="Give a .pem or .crt file that contains `-----BEGIN CERTIFICATE-----`.",
        )
    return own.rstrip("\n") + "\n" + Path(certifi.where()).read_text(encoding="utf-8")


def _read(given: str) -> str:
    if _BEGIN in given:
        return given
    path = Path(given)
    try:
        if path.is_dir():
            found = sorted(item for item in path.iterdir() if item.suffix in (".crt", ".pem") and item.is_file())
            return "\n".join(item.read_text(encoding="utf-8") for item in found)
        if path.is_file():
            if os.path.getsize(path) > _MAX_BYTES:
                raise CogError(f"--ca-cert: {given} is larger than {_MAX_BYTES} bytes")
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CogError(f"--ca-cert: {given[:200]} cannot be read: {error}") from error
    try:
        return base64.b64decode(given, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise CogError(f"--ca-cert: there is no file or folder {given[:200]}") from error
