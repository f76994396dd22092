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
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from otp_service.telemetry.exceptions import described


_OURS: Final = "otp_service"
_SERVER: Final = "uvicorn.error"
"""As uvicorn calls the logger of everything but requests."""
_MOST: Final = 256
"""Characters of a text: escaped, they fit what workers can write to one pipe in one piece."""

_uncaught = logging.getLogger(f"{_OURS}.uncaught")

# Of what is neither text nor number only the type is told, for a `repr` may hold a code.
_encode = json.JSONEncoder(
    ensure_ascii=True,
    separators=(",", ":"),
    default=lambda value: f"<{type(value).__name__}>",
).encode


def configure_logging(level: str, stream: TextIO) -> None:
    """Send `logging`, warnings and what nobody catches to the stream, as JSON lines."""
    least = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [LineHandler(stream)]
    # Libraries tell each of their calls at INFO. Looking for a fault, their places may help.
    root.setLevel(least if least == logging.DEBUG else max(least, logging.WARNING))
    for name in (_OURS, _SERVER):
        logging.getLogger(name).setLevel(least)
    _catch_the_rest()


class LineHandler(logging.StreamHandler[TextIO]):
    """Where all entries come out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line; what is too long is cut, and ends in …"""
        instant = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "timestamp": instant.removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        entry |= _told(record)
        entry |= getattr(record, "fields", {})
        return _encode({field: _cut(value) for field, value in entry.items()})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # `logging` calls it
        """A log that cannot be written must not stop a login, nor values go to stderr."""


def _told(record: logging.LogRecord) -> dict[str, Any]:
    error = record.exc_info[1] if record.exc_info else None
    event = f"{record.module}:{record.lineno}:{record.funcName}"
    if _may_speak(record):
        try:
            event = record.getMessage()
        except Exception as unreadable:  # noqa: BLE001  # whatever was put into it
            error = unreadable
    else:  # what stopped the server's start is only told as a text, by whoever caught it
        error = error or sys.exc_info()[1]
    return {"event": event, "exception": described(error)} if error else {"event": event}


def _may_speak(record: logging.LogRecord) -> bool:
    if record.name == _SERVER:
        return record.levelno <= logging.INFO
    return record.name.partition(".")[0] == _OURS


def _cut(value: object) -> object:
    return value[:_MOST] + "…" if isinstance(value, str) and len(value) > _MOST else value


def _catch_the_rest() -> None:
    """Take the place of the hooks that print to stderr, texts of exceptions included (R92)."""
    sys.excepthook = lambda _, error, __: _tell(error)
    threading.excepthook = lambda hook: _tell(hook.exc_value)
    sys.unraisablehook = lambda hook: _tell(hook.exc_value)
    warnings.showwarning = lambda _, kind, file, line, *__: _uncaught.warning(
        "%s at %s:%s", kind.__name__, file, line
    )


def _tell(error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt):
        _uncaught.critical("uncaught", exc_info=error)
