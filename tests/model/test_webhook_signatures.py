"""`cog.webhooks`: the standard's own example, and what must not pass."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cog.webhooks import WebhookError, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIME = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {"webhook-id": ID, "webhook-timestamp": str(TIME), "webhook-signature": SIGNATURE}


def test_the_example_of_the_standard_is_signed_and_verified() -> None:
    assert sign(SECRET, ID, TIME, BODY) == SIGNATURE
    assert verify(SECRET, HEADERS, BODY, now=TIME + 5) == ID


@pytest.mark.parametrize(
    ("changed", "body", "now", "words"),
    [
        ({}, BODY + b" ", TIME, "no signature"),
        ({"webhook-id": ID + "x"}, BODY, TIME, "no signature"),
        ({"webhook-timestamp": str(TIME + 1)}, BODY, TIME, "no signature"),
        ({}, BODY, TIME + 301, "301 seconds old"),
        ({}, BODY, TIME - 301, "301 seconds in the future"),
        ({"webhook-timestamp": "soon"}, BODY, TIME, "not a number"),
        ({"webhook-timestamp": "-1"}, BODY, TIME, "not a number"),
        ({"webhook-timestamp": "9" * 400}, BODY, TIME, "not a number"),
        ({"webhook-signature": ""}, BODY, TIME, "webhook-signature is missing"),
        ({"webhook-id": ""}, BODY, TIME, "webhook-id is missing"),
        ({"webhook-signature": SIGNATURE[3:]}, BODY, TIME, "no signature"),
        ({"webhook-signature": "v1a," + SIGNATURE[3:]}, BODY, TIME, "no signature"),
        ({"webhook-signature": "v1,\xe9\xff"}, BODY, TIME, "no signature"),
    ],
)
def test_what_is_changed_old_or_missing_is_refused_in_words(
    changed: dict[str, str], body: bytes, now: float, words: str
) -> None:
    with pytest.raises(WebhookError, match=words):
        verify(SECRET, {**HEADERS, **changed}, body, now=now)


def test_header_names_are_read_without_case_and_several_signatures_one_by_one() -> None:
    headers = {"Webhook-Id": ID, "WEBHOOK-TIMESTAMP": str(TIME), "webhook-Signature": f"v1a,x v1,AAAA {SIGNATURE}"}

    assert verify(SECRET, headers, BODY, now=TIME) == ID


def test_during_a_rotation_either_secret_will_do() -> None:
    with_both = {**HEADERS, "webhook-signature": f"{sign('new', ID, TIME, BODY)} {SIGNATURE}"}

    for secrets in ("new", SECRET, ["other", SECRET], ("new", "other")):
        assert verify(secrets, with_both, BODY, now=TIME) == ID
    with pytest.raises(WebhookError, match="no signature"):
        verify(["other", "another"], with_both, BODY, now=TIME)


def test_the_tolerance_is_from_now_unless_said_otherwise() -> None:
    now = int(time.time())
    headers = {**HEADERS, "webhook-timestamp": str(now), "webhook-signature": sign(SECRET, ID, now, BODY)}

    assert verify(SECRET, headers, BODY) == ID
    with pytest.raises(WebhookError, match="seconds old"):
        verify(SECRET, HEADERS, BODY)


@pytest.mark.parametrize("secrets", ["", "whsec_", "whsec_not base64!", "whsec_\xe9", [], ["ok", ""]], ids=str)
def test_what_is_no_secret_is_said(secrets: Any) -> None:
    with pytest.raises(WebhookError, match="secret"):
        verify(secrets, HEADERS, BODY, now=TIME)


def test_a_secret_without_the_prefix_is_taken_as_it_is() -> None:
    raw = base64.b64encode(b"plain text").decode()

    assert sign("plain text", ID, TIME, BODY) == sign("whsec_" + raw, ID, TIME, BODY)


@given(st.text(min_size=1), st.text(min_size=1), st.binary(), st.binary(), st.integers(0, 10**11))
def test_a_message_verifies_with_its_own_body_and_secret_only(
    secret: str, other: str, body: bytes, other_body: bytes, timestamp: int
) -> None:
    secret, other = (text.encode("utf-8", "replace").decode() for text in (secret, other))
    secret, other = f"s{secret}", f"s{other}"
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, ID, timestamp, body),
    }

    assert verify(secret, headers, body, now=timestamp) == ID
    for wrong_secret, wrong_body in ((other, body), (secret, other_body)):
        if (wrong_secret, wrong_body) != (secret, body):
            with pytest.raises(WebhookError):
                verify(wrong_secret, headers, wrong_body, now=timestamp)
