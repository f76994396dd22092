"""What Redis answered when a call failed, for operators: its code and its text without data.

A text of Redis or of redis-py may contain arguments of the command, which are keys and values. So a
description has the code, and the words of the text up to the first quotation mark; a word that is
not plain letters is replaced by `*`.
"""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterator

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import AuthenticationError as LoginRefused
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import NotReplicated, StoreUnavailable
from otp_service.store.reply_errors import CallInterrupted, ServerUnavailable, UnexpectedReply


logger = logging.getLogger(__name__)

REPEAT_INTERVAL_SECONDS = 10.0
"""Between two log lines with the same description."""

MAX_DESCRIPTIONS = 50
"""Different descriptions whose last line is remembered."""

MAX_DESCRIPTION_CHARS = 120

WRONG_SERVER_CODES = frozenset(
    {
        # It is not the master of this key, or not a server that serves now.
        *("READONLY", "MASTERDOWN", "LOADING", "MOVED", "ASK", "CLUSTERDOWN"),
        # It is a master that cannot write: without its replicas, its disk, or memory.
        *("NOREPLICAS", "MISCONF", "OOM"),
        # It runs a script of another client, so Sentinel may promote another server.
        *("BUSY", "UNKILLABLE"),
        # It became a replica while WAIT waited.
        "UNBLOCKED",
        # Its users are not those of the server that the settings mean.
        *("NOAUTH", "WRONGPASS", "NOPERM"),
    }
)
"""Codes of a server that may not be the one to use: its name is resolved again.

Nothing was run. An error of a command itself (ERR, WRONGTYPE, NOSCRIPT) does not count.
"""

KNOWN_CODES = WRONG_SERVER_CODES | {"ERR", "WRONGTYPE", "NOSCRIPT", "TRYAGAIN", "CROSSSLOT"}
"""The codes that metrics name. Redis modules and scripts may invent others."""

_CODE_PATTERN = re.compile(r"[A-Z]{2,20}(?= |$)")
_PLAIN_WORD = re.compile(r"\(?[A-Za-z][A-Za-z'-]{0,19}[.,:;)]*|user_script:\d{1,4}:?")
_OPENING_QUOTE = re.compile(r"(?<![A-Za-z])['\"`]")
_ADDRESS_PATTERN = re.compile(r"connecting to (\S+?)\.( |$)")
"""The address in a text of redis-py; it is that of a setting, or from a Sentinel."""
_REFUSED_COMMAND = re.compile(r"the '([a-z|]{2,20})' command")


_CLIENT_ERRORS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (LoginRefused, "Redis did not accept redis.username and redis.password"),
    (UnexpectedReply, "a reply did not belong to its command, so its connection was closed"),
    (CallInterrupted, "the connection to Redis was closed again and again during calls"),
    ((TimedOut, TimeoutError), "Redis did not answer within redis.timeout_milliseconds"),
    (RedisClusterException, "no node of redis.cluster answers with a whole cluster"),
    (
        MasterNotFoundError,
        "no Sentinel of redis.sentinel answers with the address of redis.master",
    ),
)


def find_error_code(error: BaseException) -> str:
    """Return the code of an error reply, such as READONLY; empty for any other error."""
    if isinstance(error, AskError):  # also MOVED: redis-py keeps the code apart from the text
        return "MOVED" if type(error) is not AskError else "ASK"
    if status := getattr(error, "status_code", None):
        return str(status)
    match = _CODE_PATTERN.match(str(error)) if isinstance(error, ResponseError) else None
    return match[0] if match else ""


def is_wrong_server(reply: object) -> bool:
    """Return whether a reply is an error of a server that may not be the one to use."""
    return isinstance(reply, RedisError) and find_error_code(reply) in WRONG_SERVER_CODES


def describe_error(error: BaseException) -> str:
    """Return one line about a failed call, without keys and values."""
    error = _find_reason(error)
    for cause in _iterate_causes(error):  # a refused login is the cause of a lost connection
        if code := find_error_code(cause):
            text = _scrub_text(str(cause).removeprefix(code))
            return f"Redis answered {code}: {text}" if text else f"Redis answered {code}"
    if isinstance(error, ResponseError):
        return f"Redis answered an error: {_scrub_text(str(error))}"
    if isinstance(error, NotReplicated):
        return error.cause
    for classes, text in _CLIENT_ERRORS:
        if isinstance(error, classes):
            return text
    match = _ADDRESS_PATTERN.search(str(error))
    return f"the connection to {match[1] if match else 'Redis'} failed ({_describe_root(error)})"


def _find_reason(error: BaseException) -> BaseException:
    """Return why there was no reply, where the error names its reason."""
    reason = error.__cause__
    if isinstance(error, ServerUnavailable) and reason:
        return _find_reason(reason)
    is_interruption = isinstance(error, CallInterrupted)
    if is_interruption and isinstance(reason, TimedOut | UnexpectedReply):
        return reason
    return error


def _describe_root(error: BaseException) -> str:
    """Return the reason of the operating system, or the class of the error."""
    for cause in _iterate_causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio's text contains the address.
            text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
            return _scrub_text(text)
    return type(error).__name__


def _iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _scrub_text(text: str) -> str:
    refused = _REFUSED_COMMAND.search(text)
    start, *quoted = _OPENING_QUOTE.split(text, maxsplit=1)
    words = [word if _PLAIN_WORD.fullmatch(word) else "*" for word in start.split()]
    if refused:
        words += [refused[1].upper()]
    elif quoted:
        words += ["*"]
    return re.sub(r"\*( \*)+", "*", " ".join(words))[:MAX_DESCRIPTION_CHARS]


def _read_loop_clock() -> float:
    """Return the time of the running event loop, in seconds."""
    return asyncio.get_running_loop().time()


class FailureLog:
    """Logs failed calls, at most one line for each description in REPEAT_INTERVAL_SECONDS."""

    def __init__(self, clock: Callable[[], float] = _read_loop_clock) -> None:
        self._clock = clock
        self._silent_until: dict[str, float] = {}
        self._repeat_counts: dict[str, int] = {}

    def report(self, error: BaseException) -> StoreUnavailable:
        """Log the error of Redis, and return the error to raise from it."""
        description = describe_error(error)
        self.log(f"a call failed: {description}")
        code = find_error_code(error)
        return StoreUnavailable(cause=description, kind=code if code in KNOWN_CODES else "")

    def log(self, description: str) -> None:
        """Log a warning, unless the same one was logged a moment ago."""
        now = self._clock()
        if now < self._silent_until.get(description, now):
            self._repeat_counts[description] += 1
            return
        repeats = self._repeat_counts.pop(description, 0)
        suffix = f" ({repeats} more since the last line)" if repeats else ""
        logger.warning("%s%s", description, suffix)
        self._silent_until.pop(description, None)
        self._silent_until[description] = now + REPEAT_INTERVAL_SECONDS
        self._repeat_counts[description] = 0
        if len(self._silent_until) > MAX_DESCRIPTIONS:
            oldest = next(iter(self._silent_until))
            del self._silent_until[oldest], self._repeat_counts[oldest]
