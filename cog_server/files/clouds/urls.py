"""`parse_cloud_url`: where in which cloud a URL points. Nothing here needs the package that talks to clouds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cog_server.files.transfer import TransferError

Kind = Literal["s3", "gcs", "azure"]

SCHEMES: dict[str, Kind] = {
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
_MAX_KEY_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_V4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_ACCOUNT = re.compile(r"([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net")


@dataclass(frozen=True)
class CloudLocation:
    """An object in a cloud. `bucket` is Azure's container; `account` is Azure's, None where the URL names none."""

    scheme: str
    kind: Kind
    bucket: str
    key: str
    account: str | None = None

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self.key.rpartition("/")[2]

    @property
    def place(self) -> str:
        """The bucket as errors name it: the key may hold what is nobody's business."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def url(self) -> str:
        """The URL as it was given, its scheme in lower case."""
        host = f"{self.bucket}@{self.account}.dfs.core.windows.net" if self.account else self.bucket
        return f"{self.scheme}://{host}/{self.key}"


def parse_cloud_url(url: str) -> CloudLocation:
    """Take a URL apart. Raises TransferError, in words that hold nothing of the URL but its scheme.

    The key is taken as it is written, as by `aws s3 cp`: `%20` is three characters, `?` and `#` are two of many.
    """
    written, separator, rest = url.partition("://")
    scheme = written.lower()
    kind = SCHEMES.get(scheme)
    if not separator or kind is None:
        raise TransferError(
            f"the URL is none of a cloud's; these begin with {', '.join(f'{each}://' for each in SCHEMES)}"
        )
    host, _, key = rest.partition("/")
    noun = "container" if kind == "azure" else "bucket"
    if not host:
        raise TransferError(f"the {scheme} URL names no {noun}")
    account = None
    if kind == "azure" and scheme != "az" and "@" in host:
        host, _, name = host.partition("@")
        match = _ACCOUNT.fullmatch(name)
        if match is None:
            raise TransferError(
                f"the {scheme} URL has an invalid account: after the @ belongs ACCOUNT.dfs.core.windows.net"
                " or ACCOUNT.blob.core.windows.net"
            )
        account = match[1]
    if not _is_bucket_name[kind](host):
        raise TransferError(f"the {scheme} URL has an invalid {noun} name: {_RULES[kind]}")
    _check_key(scheme, key)
    return CloudLocation(scheme, kind, host, key, account)


def _check_key(scheme: str, key: str) -> None:
    if not key:
        raise TransferError(f"the {scheme} URL names a bucket and no file in it")
    if _CONTROL.search(key):
        raise TransferError(f"the {scheme} URL has a control character in it")
    # The store's client cannot send these: it would ask for another file than the one that is named.
    if not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise TransferError(f"the {scheme} URL has an empty segment, a `.` or a `..` in its path")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise TransferError(f"the {scheme} URL is not valid Unicode") from None
    if size > _MAX_KEY_BYTES:
        raise TransferError(f"the {scheme} URL is too long: the path may have {_MAX_KEY_BYTES} bytes, not {size}")


def _is_s3_name(name: str) -> bool:
    # Not by the reserved endings: an access point's alias (-s3alias) stands in a bucket's place.
    return (
        re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) is not None
        and ".." not in name
        and not name.startswith(("xn--", "sthree-"))
        and _V4.fullmatch(name) is None
    )


def _is_gcs_name(name: str) -> bool:
    # "goog" at the beginning and "google" within are refused to others than Google, whose public files may be read.
    return (
        re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", name) is not None
        and all(1 <= len(part) <= 63 for part in name.split("."))
        and _V4.fullmatch(name) is None
    )


def _is_container_name(name: str) -> bool:
    return name in ("$root", "$web") or (
        re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name) is not None and "--" not in name
    )


_is_bucket_name = {"s3": _is_s3_name, "gcs": _is_gcs_name, "azure": _is_container_name}
_RULES = {
    "s3": "it has 3 to 63 of a-z, 0-9, `-` and `.`",
    "gcs": "it has 3 to 63 of a-z, 0-9, `-`, `_` and `.`",
    "azure": "it has 3 to 63 of a-z, 0-9 and single `-`",
}
