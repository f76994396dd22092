"""Helpers for tests of named vendors: deliver callbacks, and send a message by dialect and SDK."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from otp_service.sms.http_provider import HttpProvider
from otp_service.sms.provider_callbacks import Callback


NOW_SECONDS = 1_790_000_000
"""Seconds."""
CALLBACK_URL = "https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen"

INVALID_BODIES = [
    b"",
    b"hello",
    b"[]",
    b"{}",
    b"null",
    b"1e999",
    b"\xff\xfe",
    b"[" * 60_000,
    b'{"type": 1, "data": [], "results": [{}]}',
    b'{"results": [{"messageId": "1", "status": {"groupId": 77, "id": 1}}]}',
    b"Status=nonsense&MessageUUID=1&status=nonsense&id=1",
]


def list_codes(faults, verdict):
    """The codes of a table that have this verdict."""
    found = [code for code, one in faults.items() if one == verdict]
    assert found
    return found


def remove_members(body, *names):
    """Return the object without these members."""
    return {name: each for name, each in body.items() if name not in names}


def build_callback(body, *, url=CALLBACK_URL, method="POST", now_seconds=NOW_SECONDS, headers=()):
    """A callback of a vendor."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Callback(method, url, dict(headers), content, now_seconds * 1000)


async def send_with_both(gateway, transport, dialect, message, sdk: Callable[[], Any]):
    """Return the request of our dialect and that of the vendor's SDK, as the gateway received them."""
    await HttpProvider("acme", dialect, transport).send(message)
    await asyncio.to_thread(sdk)
    ours, theirs = gateway.requests
    return _summarize_request(ours), _summarize_request(theirs)


def _summarize_request(asked):
    kind = asked.headers["content-type"].partition(";")[0]
    return asked.method, asked.target, kind, asked.headers["authorization"], asked.json
