"""Watches whether a listener has reached its limit of connections, which Granian does not report.

A connection beyond the limit waits, because most limits are reached for a moment only. Where the limit
stays reached, those that wait get 503.
"""

import asyncio
import logging
import os
import socket
import sys
from typing import Final

from otp_service.cli.connection_refusal import refuse_waiting_connections
from otp_service.telemetry import Metrics


logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0

CHECKS_UNTIL_REFUSAL: Final = 3
"""Checks in a row that find the limit reached, until the connections that wait are refused."""

_UNACKED_OFFSET: Final = 24
"""Of `tcpi_unacked` in Linux's `struct tcp_info`: for a listener the connections to be accepted."""


class ConnectionMonitor:
    """Logs and counts each time that connections wait because there are as many as allowed.

    Refuses those that wait while this lasts.
    """

    def __init__(
        self, listener: socket.socket, max_connections: int, metrics: Metrics | None
    ) -> None:
        self._listener = listener
        self._max_connections = max_connections
        self._metrics = metrics
        self._reached_checks = 0
        """Checks in a row that found the limit reached."""

    async def run(self) -> None:
        """Check once a second until it is canceled, and close the listener."""
        with self._listener:
            while True:
                waiting = count_waiting(self._listener)
                self.observe(waiting, count_descriptors())
                if self.is_refusing:
                    await refuse_waiting_connections(self._listener, waiting)
                await asyncio.sleep(CHECK_SECONDS)

    @property
    def is_refusing(self) -> bool:
        return self._reached_checks >= CHECKS_UNTIL_REFUSAL

    def observe(self, waiting: int, descriptors: int) -> None:
        """Record one measurement; each open connection is a descriptor."""
        is_reached = waiting > 0 and descriptors >= self._max_connections
        if is_reached != bool(self._reached_checks):
            self._report(is_reached=is_reached, waiting=waiting)
        self._reached_checks = self._reached_checks + 1 if is_reached else 0
        if self._metrics:
            self._metrics.connections_waiting.set(waiting)
            self._metrics.open_descriptors.set(descriptors)

    def _report(self, *, is_reached: bool, waiting: int) -> None:
        if not is_reached:
            logger.warning("connections are accepted again")
            return
        fields = {"max_connections": self._max_connections, "waiting": waiting}
        text = "the limit of connections is reached: others wait, and are 503 after some seconds"
        logger.error(text, extra={"fields": fields})
        if self._metrics:
            self._metrics.connection_limit_reached.inc()


def count_waiting(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted; 0 where the system has no such number."""
    if sys.platform != "linux":
        return 0
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[_UNACKED_OFFSET : _UNACKED_OFFSET + 4], sys.byteorder)


def count_descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  # without a Path for each of thousands
