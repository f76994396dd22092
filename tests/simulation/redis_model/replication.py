"""The replicas of a server: which writes they have, when it knows that, and the calls of WAIT.

Instants are seconds of the loop, and offsets are those of the keyspace. Nothing happens by itself:
when a write arrives, and when that is known, is drawn as it is sent. So a write without a WAIT costs
no timer.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Shipment(NamedTuple):
    """Writes up to an offset that are on their way to a replica."""

    offset: int
    arrives_at: float
    known_at: float
    """When the master learns that they have arrived."""


class Replica:
    """A replica that gets every write, in order and after a drawn lag."""

    def __init__(self, name: str, draw_lag: Callable[[], float], offset: int = 0) -> None:
        self.name = name
        self.draw_lag = draw_lag
        self.is_online = True
        """Whether the master counts it among its replicas."""
        self.is_stalled = False
        """Whether nothing arrives, and nothing is acknowledged."""
        self._arrived = self._acknowledged = self._sent = offset
        self._shipments: deque[Shipment] = deque()

    def send(self, offset: int, now: float) -> None:
        """Send the writes up to an offset, which no replica has a part of."""
        self._sent = offset
        if not self.is_stalled:
            self._ship(now)

    def find_offset(self, now: float) -> int:
        """Return the offset of the writes that the replica has."""
        arrived = (s.offset for s in self._shipments if s.arrives_at <= now)
        return max(self._arrived, *arrived, 0)

    def find_acknowledgement(self, offset: int) -> float:
        """Return from when on the master knows that the replica has an offset; infinite for never."""
        if offset <= self._acknowledged:
            return -math.inf
        return next((s.known_at for s in self._shipments if s.offset >= offset), math.inf)

    def settle(self, now: float) -> None:
        """Forget shipments that are known to have arrived."""
        while self._shipments and self._shipments[0].known_at <= now:
            shipment = self._shipments.popleft()
            self._arrived = self._acknowledged = shipment.offset

    def stall(self, now: float) -> None:
        """Let nothing arrive from now on."""
        self.settle(now)
        self._arrived = self.find_offset(now)
        self._shipments.clear()
        self.is_stalled = True

    def resume(self, now: float) -> None:
        """Send what was not sent while it was stalled."""
        self.is_stalled = False
        if self._sent > self._acknowledged:
            self._ship(now)

    def synchronize(self, offset: int) -> None:
        """Give it the data of a master anew: it has all of it, and nothing else."""
        self._arrived = self._acknowledged = self._sent = offset
        self._shipments.clear()

    def _ship(self, now: float) -> None:
        last = self._shipments[-1] if self._shipments else Shipment(0, now, now)
        arrives_at = max(last.arrives_at, now + self.draw_lag())
        known_at = max(last.known_at, arrives_at + self.draw_lag())
        self._shipments.append(Shipment(self._sent, arrives_at, known_at))


class Waiter:
    """A call of WAIT that has not been answered."""

    def __init__(
        self, offset: int, count: int, deadline: float, resume: Callable[[int], None]
    ) -> None:
        self.offset, self.count, self.deadline = offset, count, deadline
        self.resume = resume
        self.timer: asyncio.TimerHandle | None = None


class Replication:
    """The replicas of one master."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replicas: Sequence[Replica] = ()) -> None:
        self.replicas = list(replicas)
        self._loop = loop
        self._waiters: list[Waiter] = []

    def send(self, offset: int) -> None:
        """Send the writes of a command, or of a script as a whole, to each replica."""
        if self.replicas:
            now = self._loop.time()
            for replica in self.replicas:
                replica.settle(now)
                replica.send(offset, now)

    def wait(
        self, offset: int, count: int, timeout_seconds: float, resume: Callable[[int], None]
    ) -> int | None:
        """Return how many replicas have acknowledged an offset if that is `count` or more.

        Else return None, and call `resume` with it later: when enough have, or after the timeout. A
        timeout of 0 never ends.
        """
        acknowledged = self.count_acknowledged(offset)
        if acknowledged >= count:
            return acknowledged
        deadline = self._loop.time() + (timeout_seconds or math.inf)
        waiter = Waiter(offset, count, deadline, resume)
        self._waiters.append(waiter)
        self._set_timer(waiter)
        return None

    def count_acknowledged(self, offset: int) -> int:
        """Return how many replicas the master knows to have an offset."""
        now = self._loop.time()
        return sum(
            replica.is_online and replica.find_acknowledgement(offset) <= now
            for replica in self.replicas
        )

    def review_waiters(self) -> None:
        """Compute again how long each WAIT lasts, after replicas were stalled or resumed."""
        for waiter in self._waiters:
            self._set_timer(waiter)

    def drop_waiters(self) -> None:
        """Forget every WAIT: their connections are gone."""
        for waiter in self._waiters:
            if waiter.timer:
                waiter.timer.cancel()
        self._waiters.clear()

    def _set_timer(self, waiter: Waiter) -> None:
        if waiter.timer:
            waiter.timer.cancel()
            waiter.timer = None
        due_at = min(waiter.deadline, self._find_instant(waiter))
        if due_at < math.inf:
            waiter.timer = self._loop.call_at(due_at, self._finish_wait, waiter)

    def _find_instant(self, waiter: Waiter) -> float:
        """Return when enough replicas will have acknowledged the offset; infinite for never."""
        instants = sorted(
            replica.find_acknowledgement(waiter.offset)
            for replica in self.replicas
            if replica.is_online
        )
        return instants[waiter.count - 1] if len(instants) >= waiter.count else math.inf

    def _finish_wait(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.resume(self.count_acknowledged(waiter.offset))
