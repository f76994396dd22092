"""Every entry of the log, whoever makes it, leaves through one handler as one line of JSON.

Ours are told as they are, and so is where uvicorn listens and which processes it starts. Of every
other entry only its place in the source is told: what libraries say may hold a URL with
credentials, a number or a whole reply (R68).

What is not printable ASCII is escaped: not only control characters, but also U+2028, which some
readers take for a line's end, and the marks that turn the direction of text (R70, CWE-117).
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
_SERVER_LOGGER: Final = "uvicorn.error"
"""As uvicorn calls the logger of everything but requests."""
_MAX_TEXT_CHARS: Final = 256
"""Characters of a text: escaped, they fit what workers can write to one pipe in one piece."""

_uncaught_logger = logging.getLogger(f"{_SERVICE_LOGGER}.uncaught")

# Of what is neither text nor number only the type is told, for a `repr` may hold a code.
_encode_json = json.JSONEncoder(
    ensure_ascii=True,
    separators=(",", ":"),
    default=lambda value: f"<{type(value).__name__}>",
).encode


def configure_logging(level: str, stream: TextIO) -> None:
    """Send `logging`, warnings and what nobody catches to the stream, as JSON lines."""
    least = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [JsonLineHandler(stream)]
    # Libraries tell each of their calls at INFO. Looking for a fault, their places may help.
    root.setLevel(least if least == logging.DEBUG else max(least, logging.WARNING))
    for name in (_SERVICE_LOGGER, _SERVER_LOGGER):
        logging.getLogger(name).setLevel(least)
    _install_exception_hooks()


class JsonLineHandler(logging.StreamHandler[TextIO]):
    """Where all entries come out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line; what is too long is cut, and ends in …"""
        entry = {
            "timestamp": format_rfc3339(int(record.created * SECOND_MS)),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        entry |= _describe_record(record)
        entry |= getattr(record, "fields", {})
        return _encode_json({field: _truncate_text(value) for field, value in entry.items()})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # `logging` calls it
        """A log that cannot be written must not stop a login, nor values go to stderr."""


def _describe_record(record: logging.LogRecord) -> dict[str, Any]:
    error = record.exc_info[1] if record.exc_info else None
    event = f"{record.module}:{record.lineno}:{record.funcName}"
    if _can_log_message(record):
        try:
            event = record.getMessage()
        except Exception as unreadable:  # noqa: BLE001  # whatever was put into it
            error = unreadable
    else:  # what stopped the server's start is only told as a text, by whoever caught it
        error = error or sys.exc_info()[1]
    return {"event": event, "exception": describe_exception(error)} if error else {"event": event}


def _can_log_message(record: logging.LogRecord) -> bool:
    if record.name == _SERVER_LOGGER:
        return record.levelno <= logging.INFO
    return record.name.partition(".")[0] == _SERVICE_LOGGER


def _truncate_text(value: object) -> object:
    return (
        value[:_MAX_TEXT_CHARS] + "…"
        if isinstance(value, str) and len(value) > _MAX_TEXT_CHARS
        else value
    )


def _install_exception_hooks() -> None:
    """Take the place of the hooks that print to stderr, texts of exceptions included (R92)."""
    sys.excepthook = lambda _, error, __: _log_uncaught(error)
    threading.excepthook = lambda hook: _log_uncaught(hook.exc_value)
    sys.unraisablehook = lambda hook: _log_uncaught(hook.exc_value)
    warnings.showwarning = lambda _, kind, file, line, *__: _uncaught_logger.warning(
        "%s at %s:%s", kind.__name__, file, line
    )


def _log_uncaught(error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt):
        _uncaught_logger.critical("uncaught", exc_info=error)
