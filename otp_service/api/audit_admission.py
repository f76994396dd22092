"""Bounds the calls that read events, so that no API key delays the calls of others (R65)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from otp_service.core.admission import AdmissionControl
from otp_service.core.errors import Overloaded, RateLimited
from otp_service.core.limits import Window, compute_gcra
from otp_service.core.tenant import ApiKey, Scope
from otp_service.core.timestamps import MINUTE_SECONDS, SECOND_MS


CALLS_LIMIT, CONCURRENCY_LIMIT = "AuditCallsPerKey", "ConcurrentAuditCallsPerKey"
"""The names of the two limits in problems; both count in one process, and in memory."""

MAX_CALLS_AT_ONCE: Final = 4
"""Of all keys of tenants. Keys with `audit-all` have as many of their own."""

MAX_CALLS_AT_ONCE_PER_KEY: Final = 2


class AuditAdmission:
    """Admits calls that read events; `now` returns milliseconds since 1970."""

    def __init__(self, now: Callable[[], int], *, calls_per_minute: int) -> None:
        self._now = now
        self._window = Window(calls_per_minute, MINUTE_SECONDS)
        self._tats: dict[bytes, float] = {}
        slots = MAX_CALLS_AT_ONCE, MAX_CALLS_AT_ONCE_PER_KEY
        self._tenant_slots, self._security_slots = (
            AdmissionControl(*slots),
            AdmissionControl(*slots),
        )

    @contextmanager
    def admit(self, key: ApiKey) -> Iterator[None]:
        """Count a call of this key, which runs inside the `with` statement.

        Raises RateLimited if the key has too many calls, and Overloaded if all keys have.
        """
        slots = self._security_slots if Scope.AUDIT_ALL in key.scopes else self._tenant_slots
        try:
            slot = slots.acquire(key.sha256.hex())
        except Overloaded:
            if slots.in_use >= MAX_CALLS_AT_ONCE:
                raise
            quota = MAX_CALLS_AT_ONCE_PER_KEY
            raise RateLimited(
                CONCURRENCY_LIMIT, retry_after=1, quota=quota, period_seconds=1
            ) from None
        with slot:
            self._charge_call(key)
            yield

    def _charge_call(self, key: ApiKey) -> None:
        now, window = self._now(), self._window
        wait, tat = compute_gcra(self._tats.get(key.sha256, 0), window, 1, now)
        if wait:
            seconds = math.ceil(wait / SECOND_MS)
            raise RateLimited(
                CALLS_LIMIT,
                retry_after=seconds,
                quota=window.count,
                period_seconds=window.period_seconds,
            )
        self._tats[key.sha256] = tat  # one for each configured key
