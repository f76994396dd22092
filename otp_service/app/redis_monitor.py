"""Watches whether the Redis in use keeps what is stored, and how many replicas it has.

The start of `serve` checks a Redis that answers. One that starts later, is promoted, or gets another
replica is checked here, by the supervisor, also while no balancer calls `/health/ready`. One that has no
mark of a mode gets it: otherwise a service for tests could take a live Redis for its own and reset it.
"""

from dataclasses import dataclass, field
from functools import partial

from otp_service.schemas import Mode
from otp_service.store.client import ScriptClient
from otp_service.store.health import find_unsafe_settings
from otp_service.store.mode_mark import claim_mode
from otp_service.telemetry import Metrics


CHECK_INTERVAL_SECONDS = 5.0


@dataclass
class RedisMonitor:
    """Sets `otp_redis_issues` for each setting that has, or had, an issue."""

    _client: ScriptClient
    _metrics: Metrics
    _mode: Mode
    _reported_settings: set[str] = field(default_factory=set)

    async def update_metrics(self) -> None:
        """Check every master once, and mark the Redis. Raises StoreUnavailable if one does not answer."""
        find_issues = partial(find_unsafe_settings, self._client)
        issues = [
            *await self._client.retry_lost_reply(find_issues),
            *await claim_mode(self._client, self._mode),
        ]
        for setting, remedy in issues:
            self._client.failure_log.log(f"Redis is not safe: {setting} {remedy}")
        found = {setting for setting, _ in issues}
        self._reported_settings |= found
        for setting in self._reported_settings:
            self._metrics.set_redis_issue(setting, exists=setting in found)
