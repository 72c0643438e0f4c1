"""`explain`: what a store's client says, in plain words and without what is in it: URLs, keys, numbers of requests."""

from __future__ import annotations

import re
import urllib.parse

from obstore.exceptions import (
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from cog_server.files.transfer import TransferError

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_ASKED = re.compile(r"Error performing [A-Z]+ (\S+)")
_DENIED = {
    "InvalidAccessKeyId": "the store does not know the key",
    "SignatureDoesNotMatch": "the secret does not fit the key",
    "ExpiredToken": "the credentials have expired",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect")
_SLOW = ("SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded")


def explain(error: Exception, *, place: str, endpoint: str, is_anonymous: bool) -> TransferError:
    """The same failure, fit for clients. `place` is the bucket, `scheme://name`, at the store `endpoint`.

    None is a passing one: each request has had its three tries by then.
    """
    text = str(error)
    status = _status(text)
    code = _code(text)
    if _is_about_credentials(text, endpoint):
        return TransferError(f"{place}: the credentials for it could not be had")
    if isinstance(error, FileNotFoundError):
        if code in ("NoSuchBucket", "ContainerNotFound"):
            return TransferError(f"{place}: there is no such {'container' if 'Container' in code else 'bucket'}")
        return TransferError(f"{place}: there is no such file")
    if code in _DENIED:
        return TransferError(f"{place}: access denied: {_DENIED[code]}")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status in (401, 403):
        return TransferError(f"{place}: access denied{' (no credentials are set)' if is_anonymous else ''}")
    if code in _OTHER_REGION or "redirect without LOCATION" in text:
        if not place.startswith("s3:"):
            return TransferError(f"{place}: the store says that the file is elsewhere, but not where")
        return TransferError(f"{place}: the bucket is in another region; set AWS_REGION")
    if code in _SLOW or status in (429, 503):
        return TransferError(f"{place}: the store asks to slow down")
    if status >= 400:
        return TransferError(f"{place}: the store answered {status}")
    if isinstance(error, InvalidPathError):
        return TransferError(f"{place}: the store cannot have a file of this name")
    return _explain_connection(text, place)


def ignores_preconditions(error: Exception) -> bool:
    """Whether the store says that it does not know "only if there is none yet"."""
    text = str(error)
    return isinstance(error, NotSupportedError) or _status(text) == 501 or _code(text) == "NotImplemented"


def _explain_connection(text: str, place: str) -> TransferError:
    if "certificate" in text.lower():
        return TransferError(f"{place}: the store's certificate is not one to trust (COG_CA_CERT adds an authority)")
    if "kind: Connect" in text or "dns error" in text:
        return TransferError(f"{place}: the store cannot be reached")
    if "TimedOut" in text or "timed out" in text or "kind: Timeout" in text:
        return TransferError(f"{place}: the store did not answer in time")
    if "HttpError" in text or "reqwest" in text:
        return TransferError(f"{place}: the connection to the store broke")
    return TransferError(f"{place}: the store's client failed")


def _is_about_credentials(text: str, endpoint: str) -> bool:
    """Whether it was not the store that was asked, but who gives the credentials for it."""
    match = _ASKED.search(text)
    return match is not None and _server(match[1]) != _server(endpoint)


def _server(url: str) -> tuple[str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _status(text: str) -> int:
    match = _STATUS.search(text)
    return int(match[1]) if match else 0


def _code(text: str) -> str:
    match = _CODE.search(text)
    return match[1] if match else ""
