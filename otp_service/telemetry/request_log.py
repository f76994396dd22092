"""The request log with its metrics, and the counts of denied calls and rejected callbacks."""

import logging
from collections import Counter
from typing import Final

from otp_service.core.inbound import FORGERY_RESULTS, InboundResult
from otp_service.telemetry.labels import ACCEPTED_CALLBACK_REASONS
from otp_service.telemetry.metrics import Metrics


logger = logging.getLogger(__name__)

_MIN_SERVER_ERROR_STATUS: Final = 500


class RequestLog:
    """Logs and counts each request once, when it has been answered.

    `route` is the template (`/v1/challenges/{challenge_id}`): a path can contain ids and numbers,
    and a query anything. A route that is not a template is logged as `other`.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def log_request(
        self, method: str, route: str, status: int, seconds: float, **extra_fields: str | None
    ) -> None:
        """Log and count a request; fields with the value None are omitted."""
        method, route = self._metrics.count_request(method, route, status, seconds)
        fields: dict[str, object] = {"method": method, "route": route, "status": status}
        fields["milliseconds"] = round(seconds * 1000, 1)
        fields |= {field: value for field, value in extra_fields.items() if value is not None}
        level = logging.WARNING if status >= _MIN_SERVER_ERROR_STATUS else logging.INFO
        logger.log(level, "request", extra={"fields": fields})


class DeniedAccessCounter:
    """Counts denied calls, rejected callbacks and messages from phones.

    An event for each call would let an unauthenticated caller fill the audit log.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._denied_calls: Counter[str] = Counter()
        self._rejected_callbacks: Counter[tuple[str, str]] = Counter()

    def count_call(self, reason: str) -> None:
        """Count a call without a valid key or scope; `reason`: see `labels.ACCESS_REASONS`."""
        self._denied_calls[self._metrics.count_unauthenticated(reason)] += 1

    def count_callback(self, provider: str, reason: str) -> None:
        """Count a callback without a receipt; `reason`: see `labels.CALLBACK_REASONS`.

        `other` and `incomplete` are metrics alone: any phone can cause them.
        """
        labels = self._metrics.count_rejected_callback(provider, reason)
        if reason not in ACCEPTED_CALLBACK_REASONS:
            self._rejected_callbacks[labels] += 1

    def count_inbound_message(self, provider: str, result: InboundResult) -> None:
        """Count a message from a phone. A keyword that may be forged is also in an event."""
        labels = self._metrics.count_inbound_message(provider, result)
        if result in FORGERY_RESULTS:
            self._rejected_callbacks[labels] += 1

    def drain_calls(self) -> dict[str, int]:
        """Return the calls since the last drain, by reason."""
        counts, self._denied_calls = self._denied_calls, Counter()
        return dict(counts)

    def drain_callbacks(self) -> dict[tuple[str, str], int]:
        """Return the refused callbacks and keywords since the last drain, by provider and reason."""
        counts, self._rejected_callbacks = self._rejected_callbacks, Counter()
        return dict(counts)
