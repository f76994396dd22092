"""Events and provider health for the operators' commands."""

import asyncio
import re
from pathlib import Path
from typing import Any

from otp_service.cli.common import read_settings
from otp_service.cli.numbers import create_cli_app
from otp_service.clock import now_ms
from otp_service.core import events
from otp_service.core.commit import Commit
from otp_service.sms.provider_health import HealthEvent
from tests.golden.fixed_inputs import fixed_random
from tests.golden.samples import CHALLENGE_ID


PARTITION = 7

HIDDEN_PATTERNS = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\.\d{3}Z?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"\b1[6-9]\d{11}\b"), "<instant>"),
    (re.compile(r'(?<="id":")[0-9a-f]{32}'), "<event>"),
    (re.compile(r'(?<="config":")[0-9a-f]{12}'), "<hash>"),
)


async def record_events(configuration: Path) -> str:
    """Append one challenge's events, and open a circuit breaker; return the challenge id."""
    now = now_ms()
    common_fields: dict[str, Any] = {
        "tenant": "shop",
        "key_id": "first",
        "request": "request-1",
        "client_ip": "203.0.113.9",
        "purpose": "login",
        "challenge": CHALLENGE_ID,
        "number": "n1:0011",
        "country": "GB",
        "number_suffix": "56",
        "versions": {"config": "test"},
    }
    random = fixed_random()
    sent_fields: dict[str, Any] = {"provider": "gateway", "milliseconds": 5}
    kinds: list[tuple[type[events.Event], dict[str, Any]]] = [
        (events.Issued, {}),
        (
            events.ProviderFailed,
            sent_fields | {"reason": "500", "fault": "provider", "about": "silence"},
        ),
        (events.Sent, sent_fields),
        (
            events.DeliveryUpdated,
            {"provider": "gateway", "status": "delivered", "send": 1, "trusted": True},
        ),
        (
            events.IssueDenied,
            {"reason": "rate_limited", "limit": "SendsPerNumber", "quota": 5, "period": 600},
        ),
        (events.Attempted, {"attempts_left": 4}),
        (events.Rejected, {"reason": "mismatch", "attempts_left": 4}),
        (events.Attempted, {"attempts_left": 3}),
        (events.Verified, {}),
    ]
    recorded = tuple(
        kind(id=random.generate_operation_id(), **common_fields, **fields) for kind, fields in kinds
    )
    failures = [HealthEvent("gateway", "GB", now, "failed", reason="http-500") for _ in range(5)]
    async with create_cli_app(read_settings(configuration)) as app:
        await app.store.commit(
            Commit(
                partition=PARTITION, operation_id=random.generate_operation_id(), events=recorded
            )
        )
        await asyncio.sleep(0.01)  # events of one millisecond are ordered by their partition
        app.provider_health.record_events(failures)
        assert await app.provider_health_sync.sync_health()
    return CHALLENGE_ID


def hide_changes(text: str) -> str:
    """Return the output of a command without instants and random ids."""
    for pattern, word in HIDDEN_PATTERNS:
        text = pattern.sub(word, text)
    return text
