"""One connection to Redis that many calls share at once (pipelining).

Commands of one turn of the event loop leave in one write, and replies are matched first in, first
out. The reply to a canceled call is read and dropped, so no other call reads it (CVE-2023-28858). On
any doubt the connection is closed, and no call on it knows whether its commands were run: after a
timeout, a lost connection, bytes that are no RESP, a reply that nothing waits for, or a reply that
echoes another token than its own.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from hiredis import Reader, pack_command
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.store.outage import Outage
from otp_service.store.reply_errors import CallInterrupted, UnexpectedReply, parse_error_reply


MAX_CALLS_IN_FLIGHT = 1024
"""Calls that may wait for their replies on one connection; more are refused with 503."""

MAX_REPLY_TIMEOUTS = 3
"""How many timeouts a reply may take while the replies before it arrive one after another."""

Command = tuple[str | bytes | int, ...]


class Request(NamedTuple):
    """A command, and the token that its reply must echo: alone, or before the result of a script.

    A reply without a token is checked by the next one that has one.
    """

    command: Command
    token: bytes | None = None


class _Call:
    """Requests that were sent together, and the future of their replies."""

    __slots__ = ("future", "packed", "replies", "sent_at", "tokens")

    def __init__(self, requests: Sequence[Request], future: asyncio.Future[list[Any]]) -> None:
        self.packed = [pack_command(command) for command, _ in requests]  # type: ignore[arg-type]
        self.tokens = [token for _, token in requests]
        self.future = future
        self.replies: list[Any] = []
        self.sent_at: float | None = None

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # A caller that is canceled now never asks for it, and asyncio would log it.
            self.future.exception()


_INCOMPLETE_REPLY = object()
"""What the reader returns when the rest of a reply has not arrived yet."""


class Line(asyncio.Protocol):
    """A connection that holds commands back until it has been introduced to the server.

    While a reply is due, the server may send nothing for `timeout` seconds: a server that was paused
    answers what had collected meanwhile one by one. Only the oldest command is watched, because
    replies arrive in order. Redis's errors are among the replies.
    """

    def __init__(self, timeout: float, outage: Outage) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._outage = outage
        self._heard_at = self._loop.time()
        self._calls: deque[_Call] = deque()
        self._unsent: list[_Call] = []
        self._reader = Reader(
            protocolError=UnexpectedReply,
            replyError=parse_error_reply,
            notEnoughData=_INCOMPLETE_REPLY,
        )
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_introduced = False
        self._is_paused = False
        self._is_retired = False
        self._flush_is_due = False
        self._closed_by: Exception | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed_by is not None

    @property
    def call_count(self) -> int:
        """How many calls have no reply yet, also those whose caller was canceled."""
        return len(self._calls)

    def send(self, requests: Sequence[Request]) -> asyncio.Future[list[Any]]:
        """Return the future of the replies; the commands leave with those of this turn.

        Its errors are ConnectionError and TimeoutError of redis-py; it is then unknown which
        commands were run. It has the error of a command that cannot be packed as well, because one
        that was raised here would end the batch of other calls (`group_commit.py`).
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        try:
            call = _Call(requests, future)
        except Exception as error:  # noqa: BLE001  # the caller raises it
            future.set_exception(error)
            return future
        if self._closed_by:
            if self._is_introduced:
                call.fail(CallInterrupted.by(self._closed_by, is_due=False))
            else:
                call.fail(_copy_error(self._closed_by))
            return future
        self._calls.append(call)
        self._unsent.append(call)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self.flush)
        return future

    async def introduce(self, requests: Sequence[Request]) -> list[Any]:
        """Send these before anything else, and return the replies."""
        call = _Call(requests, self._loop.create_future())
        if self.is_closed:
            raise Disconnected("the connection to Redis was lost")
        self._calls.appendleft(call)
        self._write([call])
        return await call.future

    def start(self) -> None:
        """Send what was held back during the introduction."""
        self._is_introduced = True
        self._outage.end()
        self.flush()
        self._close_if_drained()

    def retire(self) -> None:
        """Close the connection once the replies to its calls have arrived."""
        self._is_retired = True
        self._close_if_drained()

    def close(self, error: Exception) -> None:
        """Close the connection. Nothing is known about the calls on it.

        A connection that was never introduced fails each of them with `error`, and another one
        interrupts them: of several calls it is unknown which one is the reason.
        """
        if self._closed_by:
            return
        self._closed_by = error
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.abort()
        calls, self._calls, self._unsent = self._calls, deque(), []
        for position, call in enumerate(calls):
            if self._is_introduced:
                is_due = position == 0 and call.sent_at is not None
                call.fail(CallInterrupted.by(error, is_due=is_due))
            else:
                call.fail(_copy_error(error))

    def flush(self) -> None:
        """Write the commands of this turn, unless the connection has to wait."""
        self._flush_is_due = False
        if self._unsent and self._is_introduced and not self._is_paused and not self.is_closed:
            calls, self._unsent = self._unsent, []
            self._write(calls)

    def _write(self, calls: Sequence[_Call]) -> None:
        assert self._transport  # it is introduced, or is being introduced
        now = self._loop.time()
        packed: list[bytes] = []
        for call in calls:
            call.sent_at = now
            packed += call.packed
            call.packed = []
        self._transport.write(b"".join(packed))
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._timeout, self._check_oldest)

    def _check_oldest(self) -> None:
        self._timer = None
        sent_at = self._calls[0].sent_at if self._calls else None
        if sent_at is None:
            return  # the next write starts the timer
        silent_since = max(sent_at, self._heard_at)
        silence_ends_at = silent_since + self._timeout
        due_at = min(silence_ends_at, sent_at + MAX_REPLY_TIMEOUTS * self._timeout)
        now = self._loop.time()
        if now < due_at:
            self._timer = self._loop.call_at(due_at, self._check_oldest)
            return
        if now >= silence_ends_at:
            self._outage.begin(silent_since)
        self.close(TimedOut("Redis has not answered in time"))

    def _accept_reply(self, reply: Any) -> None:
        """Give a reply to the oldest call. Raises UnexpectedReply if it cannot be its own."""
        if not self._calls or self._calls[0].sent_at is None:
            raise UnexpectedReply("Redis sent a reply that nothing waits for")
        call = self._calls[0]
        token = call.tokens[len(call.replies)]
        call.replies.append(reply if token is None else _remove_echo(reply, token))
        if len(call.replies) == len(call.tokens):
            self._calls.popleft()
            if not call.future.done():  # its caller was canceled
                call.future.set_result(call.replies)

    def _close_if_drained(self) -> None:
        if self._is_retired and self._is_introduced and not self._calls:
            self.close(Disconnected("the connection to Redis was replaced"))

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.is_closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        self._heard_at = self._loop.time()
        if self._is_introduced:
            self._outage.end()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE_REPLY:
                self._accept_reply(reply)
        except UnexpectedReply as error:
            self.close(error)
        self._close_if_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        error = Disconnected("the connection to Redis was lost")
        error.__cause__ = exc
        self.close(error)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.flush()


def _remove_echo(reply: Any, token: bytes) -> Any:
    """Return the result after the token. Raises UnexpectedReply for the reply to another call."""
    if isinstance(reply, Exception):
        return reply  # an error of Redis echoes nothing
    if reply == token:
        return None
    if not isinstance(reply, list) or not 1 <= len(reply) <= 2 or reply[0] != token:  # noqa: PLR2004
        raise UnexpectedReply("Redis sent the reply to another call")
    return reply[1] if len(reply) > 1 else None


def _copy_error(error: Exception) -> Exception:
    """Return an error for one more caller: each adds its own traceback."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__ or error
    return copied
