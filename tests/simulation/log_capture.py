"""The log of the workers of one run, as bytes for the auditor."""

import logging
from collections.abc import Callable
from io import StringIO
from typing import Self

from otp_service.telemetry.logs import JsonLineHandler
from tests.simulation.history import StoredBytes


class LogCapture(JsonLineHandler):
    """Takes what the service logs, at simulated instants, and keeps it from every other handler."""

    def __init__(self) -> None:
        self._text = StringIO()
        super().__init__(self._text)
        self.read_seconds: Callable[[], float] = lambda: 0.0
        """Returns the seconds since 1970 that lines have as their time."""
        self._logger = logging.getLogger("otp_service")

    def emit(self, record: logging.LogRecord) -> None:
        record.created = self.read_seconds()
        super().emit(record)

    def to_stored_bytes(self) -> list[StoredBytes]:
        """Return the lines, if there are any."""
        text = self._text.getvalue()
        return [StoredBytes(place="log", content=text.encode())] if text else []

    def __enter__(self) -> Self:
        self._handlers, self._logger.handlers = self._logger.handlers, [self]
        self._propagates, self._logger.propagate = self._logger.propagate, False
        return self

    def __exit__(self, *error: object) -> None:
        self._logger.handlers = self._handlers
        self._logger.propagate = self._propagates
