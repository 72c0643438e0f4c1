"""`sign` and `verify`: webhook signatures as standardwebhooks.com has them, for the server and for who receives.

A receiver that has the raw body and the headers needs one line:

    cog.webhooks.verify(secret, headers, body)
"""

import base64
import binascii
import hashlib
import hmac
import time
from typing import Iterable, List, Mapping, Optional, Union

_PREFIX = "whsec_"
_MAX_SIGNATURES = 100


class WebhookError(Exception):
    """The message is not to be trusted, or a secret is none; says why."""


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a message as it stands in `webhook-signature`: `v1,` and base64.

    `timestamp` is in whole seconds since 1970. Raises WebhookError if the secret is none.
    """
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.new(read_secret(secret), signed, hashlib.sha256).digest()).decode()


def verify(
    secrets: Union[str, Iterable[str]],
    headers: Mapping[str, str],
    body: bytes,
    tolerance_s: float = 300,
    now: Optional[float] = None,
) -> str:
    """Give the message's id if one of `secrets` signed it no more than `tolerance_s` ago. Raises WebhookError.

    `body` is the request's body as it came, before any JSON was read. The id is the same on every try of a message:
    who keeps the ids of the last minutes takes nothing twice.
    """
    found = {name.lower(): value for name, value in headers.items()}
    webhook_id, written, given = (_header(found, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not written.isascii() or not written.isdigit() or len(written) > 15:
        raise WebhookError("webhook-timestamp is not a number of seconds")
    age_s = (time.time() if now is None else now) - int(written)
    if abs(age_s) > tolerance_s:
        what = "old" if age_s > 0 else "in the future"
        raise WebhookError(f"the message is {abs(age_s):.0f} seconds {what}; {tolerance_s:g} are allowed")
    wanted = [sign(secret, webhook_id, int(written), body) for secret in _listed(secrets)]
    # Every pair is compared, and each in constant time: how long it takes says nothing about how close a guess is.
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in wanted for other in _signatures(given)]
    if not any(matches):
        raise WebhookError("no signature in webhook-signature is of this message and secret")
    return webhook_id


def read_secret(secret: str) -> bytes:
    """The key that a secret stands for: base64 after `whsec_`, any other text as it is. Raises WebhookError."""
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret[len(_PREFIX) :].encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise WebhookError("a secret that begins with whsec_ goes on in base64") from error
    if not key:
        raise WebhookError("a webhook secret is empty")
    return key


def _listed(secrets: Union[str, Iterable[str]]) -> List[str]:
    listed = [secrets] if isinstance(secrets, str) else list(secrets)
    if not listed:
        raise WebhookError("there is no secret to verify with")
    return listed


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WebhookError(f"the header {name} is missing")
    return value


def _signatures(text: str) -> List[str]:
    """The signatures in a header; those of other versions than v1 equal none of ours."""
    return text.split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
