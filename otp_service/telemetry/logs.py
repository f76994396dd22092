"""The log: one handler writes every entry of `logging` as one line of JSON.

Entries of this package are logged with their text. Any other entry is logged as its place in the
source, because texts of libraries may contain a URL with credentials, a number or a whole reply
(R68).

Every character that is not printable ASCII is escaped: control characters, U+2028, which some readers
treat as a line separator, and the marks that change the direction of text (R70, CWE-117).
"""

import json
import logging
import sys
import threading
import warnings
from typing import Any, Final, TextIO

from otp_service.core.timestamps import SECOND_MS, format_rfc3339
from otp_service.telemetry.exceptions import describe_exception


_SERVICE_LOGGER: Final = "otp_service"
_MAX_TEXT_CHARS: Final = 256
"""A longer text is cut: a line, escaped, is then small enough for a pipe to take in one piece."""

_uncaught_logger = logging.getLogger(f"{_SERVICE_LOGGER}.uncaught")

# A value that is neither text nor number is logged as its type, because a `repr` may hold a code.
_encode_json = json.JSONEncoder(
    ensure_ascii=True, separators=(",", ":"), default=lambda value: f"<{type(value).__name__}>"
).encode


def configure_logging(level: str, stream: TextIO) -> None:
    """Write `logging`, warnings and uncaught exceptions to the stream, as JSON lines."""
    logging.getLogger().handlers[:] = [JsonLineHandler(stream)]
    set_log_level(level)
    _install_exception_hooks()


def set_log_level(level: str) -> None:
    minimum = logging.getLevelNamesMapping()[level.upper()]
    # Libraries log each call at INFO: httpx with its whole URL. At DEBUG their places may help.
    root_level = minimum if minimum == logging.DEBUG else max(minimum, logging.WARNING)
    logging.getLogger().setLevel(root_level)
    logging.getLogger(_SERVICE_LOGGER).setLevel(minimum)


class JsonLineHandler(logging.StreamHandler[TextIO]):
    """Writes each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; a text that is cut ends in an ellipsis."""
        entry = {
            "timestamp": format_rfc3339(int(record.created * SECOND_MS)),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        entry |= _describe_record(record)
        entry |= getattr(record, "fields", {})
        return _encode_json({field: _truncate_text(value) for field, value in entry.items()})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # `logging` calls it
        """Ignore an error of the stream: it must not stop a login, or print values to stderr."""


def _describe_record(record: logging.LogRecord) -> dict[str, Any]:
    error = record.exc_info[1] if record.exc_info else None
    event = f"{record.module}:{record.lineno}:{record.funcName}"
    if _can_log_message(record):
        try:
            event = record.getMessage()
        except Exception as format_error:  # noqa: BLE001  # arguments may raise anything
            error = format_error
    return {"event": event, "exception": describe_exception(error)} if error else {"event": event}


def _can_log_message(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == _SERVICE_LOGGER


def _truncate_text(value: object) -> object:
    if isinstance(value, str) and len(value) > _MAX_TEXT_CHARS:
        return value[:_MAX_TEXT_CHARS] + "…"
    return value


def _install_exception_hooks() -> None:
    """Replace the hooks that print exceptions to stderr with their texts (R92)."""
    sys.excepthook = lambda _, error, __: _log_uncaught(error)
    threading.excepthook = lambda hook: _log_uncaught(hook.exc_value)
    sys.unraisablehook = lambda hook: _log_uncaught(hook.exc_value)
    warnings.showwarning = lambda _, kind, file, line, *__: _uncaught_logger.warning(
        "%s at %s:%s", kind.__name__, file, line
    )


def _log_uncaught(error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt):
        _uncaught_logger.critical("uncaught", exc_info=error)
