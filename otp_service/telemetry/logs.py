"""Every entry of the log, whoever makes it, leaves through one sink as one line of JSON.

Ours are told as they are. Of another library's only what stands in its source is told: a template
without the values put into it, for these may be a URL with credentials, a number or a reply (R68).
"""

import inspect
import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

from otp_service.telemetry.failures import described, place, printed
from otp_service.telemetry.lines import as_line


QUIET: Final = ("httpx", "httpcore", "aiohttp", "uvicorn.access", "redis")
"""At INFO they tell URLs, at DEBUG headers and bodies: WARNING and worse is all we want of them."""

_OURS: Final = "otp_service"
_SERVER: Final = "uvicorn.error"
"""Its entries are told whole: addresses that it listens on, processes, and what it waits for."""
_TRACEBACK: Final = "Traceback (most recent call last)"

# printf's conversions, with a name in front (%(name)s) or without.
_VALUE: Final = re.compile(r"%(?:\(\w+\))?[-#0 +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z]")

_uncaught = logging.getLogger(f"{_OURS}.uncaught")


def configure_logging(level: str, stream: TextIO) -> None:
    """Send structlog, `logging`, warnings and what nobody catches to the stream, as JSON lines."""
    sink = Sink(stream)
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _as_entry],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    _take_over(LineHandler(sink), least)
    _catch_the_rest()


class Sink:
    """Writes lines. A log that cannot be written must not stop a login: such lines are counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.lost = 0

    def write(self, line: str) -> None:
        """Write one line at once."""
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: it was closed
                self.lost += 1

    debug = info = warning = error = critical = exception = msg = write


class LineHandler(logging.Handler):
    """Where the entries of `logging` come out."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; never raises, and never prints its values as `logging` would."""
        try:
            entry = _entry_of(record)
        except Exception as error:  # noqa: BLE001  # whatever a record can hold
            entry = {"event": "an entry of the log could not be read", "logger": record.name}
            entry |= {"level": "error", "exception": described(error)}
        self._sink.write(as_line({"timestamp": _instant(record.created)} | entry))


def _take_over(handler: logging.Handler, least: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, least))
    # Below DEBUG it has a level of its own, at which it tells headers.
    logging.getLogger("uvicorn").setLevel(least)
    logging.getLogger(_SERVER).setLevel(least)


def _as_entry(_: object, level: str, event: MutableMapping[str, Any]) -> str:
    """Return structlog's entry as a line: the last of its processors."""
    entry = {"timestamp": _instant(time.time()), "level": level, **event}
    error = entry.pop("exc_info", None)
    if error:
        error = error if isinstance(error, BaseException) else sys.exc_info()[1]
        entry["exception"] = described(error)
    return as_line(entry)


def _entry_of(record: logging.LogRecord) -> dict[str, Any]:
    error = record.exc_info[1] if record.exc_info else None
    entry = structlog.contextvars.get_contextvars()
    entry |= {"level": record.levelname.lower(), "logger": record.name}
    entry |= _told(record)
    if error:
        entry["exception"] = described(error)
    return entry


def _told(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return what may be told of what a record says."""
    if record.name == _OURS or record.name.startswith(f"{_OURS}."):
        return {"event": record.getMessage()}
    if record.name == _SERVER:
        text = record.getMessage()
        if _TRACEBACK in text:  # what stopped the start, as the ASGI protocol carries it
            return {"event": "failed", "exception": printed(text)}
        return {"event": text.strip()}
    if isinstance(record.msg, str) and _is_in_source(record.msg, record):
        return {"event": _VALUE.sub("…", record.msg).strip()}
    return {"event": f"withheld: {place(record.pathname, record.lineno, record.funcName or '')}"}


def _is_in_source(text: str, record: logging.LogRecord) -> bool:
    """Whether the text is a literal of the function that logs it, so that nobody put it together.

    That function has not returned: it waits, some frames up, for this entry to be written.
    """
    frame = inspect.currentframe()
    while frame:
        code = frame.f_code
        if code.co_filename == record.pathname and code.co_name == record.funcName:
            return text in code.co_consts
        frame = frame.f_back
    return False


def _catch_the_rest() -> None:
    """Take the place of the hooks that print to stderr, texts of exceptions included (R92)."""
    sys.excepthook = lambda kind, error, trace: _tell("uncaught", error, kind, trace)
    threading.excepthook = lambda hook: _tell(
        "uncaught in a thread", hook.exc_value, hook.exc_type, hook.exc_traceback
    )
    sys.unraisablehook = lambda hook: _tell(
        "uncaught where nobody can catch", hook.exc_value, hook.exc_type, hook.exc_traceback
    )
    warnings.showwarning = lambda _, kind, file, line, *__: _tell_warning(kind, file, line)


def _tell(event: str, error: BaseException | None, kind: type[BaseException], trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _uncaught.critical(event, exc_info=(kind, error or kind(), trace))


def _tell_warning(kind: type[Warning], file: str, line: int) -> None:
    _uncaught.warning("%s at %s", kind.__name__, place(file, line, ""))


def _instant(seconds: float) -> str:
    """Return the instant in UTC, as it is written everywhere in this service (R67)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
