"""Group commit: one WAIT answers every durable call of a batch.

WAIT blocks its connection until the replicas have what was written on it before, so a call of its own
behind each commit would make the commits take turns. Calls that arrive while a batch is under way form
the next batch. So a call waits for at most two WAITs.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from otp_service.store.line import Command, Line, Request
from otp_service.store.reply_errors import CallInterrupted


Replies = asyncio.Future[list[Any]]


class _DurableCall(NamedTuple):
    requests: Sequence[Request]
    future: Replies


class GroupCommit:
    """The durable calls of a worker on one server.

    `get_line` returns the line for the next batch, which nothing else may use: WAIT would block it.
    `inspect_replies` is called with the replies to each call before the next batch is sent, because
    they may show that it needs another line.
    """

    def __init__(
        self,
        get_line: Callable[[], Line],
        wait: Command,
        inspect_replies: Callable[[Line, Sequence[Request], Sequence[Any]], None],
    ) -> None:
        self._get_line = get_line
        self._inspect_replies = inspect_replies
        self._wait = wait
        self._waiting: list[_DurableCall] = []
        self._batch_size = 0
        self._is_scheduled = False

    @property
    def call_count(self) -> int:
        return len(self._waiting) + self._batch_size

    def send(self, requests: Sequence[Request]) -> Replies:
        """Return the future of the replies, and after them the reply to WAIT."""
        loop = asyncio.get_running_loop()
        future: Replies = loop.create_future()
        self._waiting.append(_DurableCall(requests, future))
        if not self._batch_size and not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._send_batch)
        return future

    def _send_batch(self) -> None:
        """Send what waits, without what was canceled meanwhile."""
        self._is_scheduled = False
        batch = [call for call in self._waiting if not call.future.done()]
        self._waiting = []
        self._batch_size = len(batch)
        if not batch:
            return
        line, wait = self._get_line(), Request(self._wait)
        if len(batch) == 1:
            replies = [line.send([*batch[0].requests, wait])]
            acknowledged = None
        else:
            replies = [line.send(call.requests) for call in batch]
            acknowledged = line.send([wait])
        # The line settles futures in order, so after the last one all replies, or errors, are there.
        last = acknowledged or replies[0]
        last.add_done_callback(lambda _: self._finish_batch(line, batch, replies, acknowledged))
        line.flush()

    def _finish_batch(
        self,
        line: Line,
        batch: Sequence[_DurableCall],
        replies: Sequence[Replies],
        acknowledged: Replies | None,
    ) -> None:
        for call, own_replies in zip(batch, replies, strict=True):
            result = _combine_replies(own_replies, acknowledged)
            if not isinstance(result, Exception):
                self._inspect_replies(line, [*call.requests, Request(self._wait)], result)
            if call.future.done():
                continue  # its caller was canceled
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)
        self._batch_size = 0
        self._send_batch()


def _combine_replies(replies: Replies, acknowledged: Replies | None) -> list[Any] | Exception:
    """Return the replies and then the count of WAIT, or the error that leaves them in doubt."""
    error = replies.exception()
    lost_wait = acknowledged.exception() if acknowledged else None
    if isinstance(error, Exception):
        return error
    if lost_wait:
        # The calls have their replies, so none of them is the reason.
        return CallInterrupted.by(lost_wait.__cause__, is_due=False)
    return replies.result() + (acknowledged.result() if acknowledged else [])
