"""What the login back end does on its connections, and how a measurement of it is taken."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

import msgspec

from bench.traffic import REPLY_TIMEOUT_SECONDS, BenchConnection, UnexpectedReplyError


WARM_UP_SECONDS = 0.3
"""Seconds at the start of a measurement that do not count, while queues fill."""

BodyBuilder = Callable[[str], str]


class Measurement(msgspec.Struct):
    """The result of one measurement; a piece of work is a pair or an issue."""

    completed: int = 0
    """Pieces of work completed in the counted time."""
    per_second: float = 0.0
    """Completed pieces a second."""
    cpu_seconds: float = 0.0
    """CPU seconds of each piece, over all pieces, counted or not."""
    issue_seconds: list[float] = []
    """Seconds from the instant at which each issue was due to its reply."""
    verify_seconds: list[float] = []
    redis_cpu_seconds: float = 0.0
    """The part of Redis in the CPU seconds of each piece."""


class Workload:
    """One kind of work on many connections; each piece of it begins with an issue."""

    def __init__(self, bodies: BodyBuilder, source: Iterator[str]) -> None:
        """Take a function from a number to the body of its issue, and the numbers."""
        self._build_body = bodies
        self._numbers = source
        self._idle: list[BenchConnection] = []
        self._due_times: deque[float] = deque()
        self._count_from = self._count_until = 0.0
        self._failure = ""
        self.measurement = Measurement()

    async def run_saturated(
        self, connections: Sequence[BenchConnection], seconds: float
    ) -> Measurement:
        """Keep every connection busy, and count the pieces completed in this time."""
        self._count_from = time.perf_counter() + WARM_UP_SECONDS
        self._count_until = self._count_from + seconds
        for connection in connections:
            self._start_piece(connection, time.perf_counter())
        await asyncio.sleep(WARM_UP_SECONDS + seconds)
        await self._wait_until_idle(len(connections))
        self.measurement.per_second = self.measurement.completed / seconds
        return self.measurement

    async def run_at_rate(
        self, connections: Sequence[BenchConnection], seconds: float, rate: float
    ) -> Measurement:
        """Start pieces at random instants at this rate, whether or not earlier ones have ended."""
        self._idle = list(connections)
        chance = random.Random(0)  # noqa: S311  # not for security
        due = time.perf_counter()
        end = due + seconds
        while (due := due + chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._due_times.append(due)
            self._start_due_pieces()
        await self._wait_until_idle(len(connections))
        return self.measurement

    def handle_issue_reply(
        self, connection: BenchConnection, number: str, status: int, body: bytes
    ) -> None:
        """Handle the reply to an issue: continue to `finish_piece` or `record_failure`."""
        raise NotImplementedError

    def finish_piece(self, connection: BenchConnection, *, counts: bool = True) -> None:
        """Start the next piece; this one counts if it ended in the counted time."""
        now = time.perf_counter()
        self.measurement.completed += counts and self._count_from <= now < self._count_until
        if now < self._count_until:
            self._start_piece(connection, now)
        else:
            self._idle.append(connection)
            self._start_due_pieces()

    def record_failure(self, status: int, body: bytes) -> None:
        """Record an unexpected reply, which invalidates the measurement."""
        self._failure = f"{status} {body.decode(errors='replace')[:500]}"

    def _start_piece(self, connection: BenchConnection, due: float) -> None:
        number = next(self._numbers)

        def handle_reply(status: int, body: bytes) -> None:
            self.measurement.issue_seconds.append(time.perf_counter() - due)
            self.handle_issue_reply(connection, number, status, body)

        connection.post("/v1/challenges", self._build_body(number), handle_reply)

    def _start_due_pieces(self) -> None:
        while self._due_times and self._idle:
            self._start_piece(self._idle.pop(), self._due_times.popleft())

    async def _wait_until_idle(self, connections: int) -> None:
        give_up = time.perf_counter() + REPLY_TIMEOUT_SECONDS
        while len(self._idle) < connections or self._due_times:
            if self._failure or time.perf_counter() > give_up:
                raise UnexpectedReplyError(self._failure or "no reply in time")
            await asyncio.sleep(0.01)


class PairWorkload(Workload):
    """Pairs: a code is issued, read on the phone, and verified."""

    def __init__(self, bodies: BodyBuilder, source: Iterator[str], phones: dict[str, str]) -> None:
        super().__init__(bodies, source)
        self._phones = phones

    def handle_issue_reply(
        self, connection: BenchConnection, number: str, status: int, body: bytes
    ) -> None:
        if status != HTTPStatus.CREATED:
            self.record_failure(status, body)
            return
        began = time.perf_counter()

        def handle_verify_reply(status: int, body: bytes) -> None:
            self.measurement.verify_seconds.append(time.perf_counter() - began)
            if status == HTTPStatus.OK:
                self.finish_piece(connection)
            else:
                self.record_failure(status, body)

        start = body.index(b'"id":"') + 6
        challenge = body[start : body.index(b'"', start)].decode()
        code = f'{{"code":"{self._phones.pop(number)}"}}'
        connection.post(f"/v1/challenges/{challenge}/verify", code, handle_verify_reply)


class RefusalWorkload(Workload):
    """Issues that the number's own limits refuse after the first one."""

    def handle_issue_reply(
        self, connection: BenchConnection, _: str, status: int, body: bytes
    ) -> None:
        """Count the piece only if it was refused."""
        if status in {HTTPStatus.CREATED, HTTPStatus.TOO_MANY_REQUESTS}:
            self.finish_piece(connection, counts=status == HTTPStatus.TOO_MANY_REQUESTS)
        else:
            self.record_failure(status, body)


class IssueWorkload(Workload):
    """Issues without a verify: half of the codes never arrive."""

    def handle_issue_reply(
        self, connection: BenchConnection, _: str, status: int, body: bytes
    ) -> None:
        """Count a 201, which is also the reply for a message that may have been sent."""
        if status == HTTPStatus.CREATED:
            self.finish_piece(connection)
        else:
            self.record_failure(status, body)


def build_minimal_body(number: str) -> str:
    """Return the body of an issue with only the required member."""
    return f'{{"phone_number":"{number}"}}'


def build_full_body(number: str) -> str:
    """Return a body with account and client_ip: two more buckets for the issue and the verify."""
    digits = int(number[-7:])
    address = f"10.{digits >> 16 & 255}.{digits >> 8 & 255}.{digits & 255}"
    return f'{{"phone_number":"{number}","account":"u{number[1:]}","client_ip":"{address}"}}'
