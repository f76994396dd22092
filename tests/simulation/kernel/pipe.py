"""One direction of a connection: bytes in flight, which arrive in order, in other pieces than written."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context
from itertools import islice, pairwise

from tests.simulation.kernel.link import Link, Way


MAX_PIECES = 4
"""Into how many a write may be split."""


class Pipe:
    """Carries bytes to one end, each piece after a drawn delay.

    A piece that would overtake the one before it arrives together with it, so that pieces are joined;
    some are split. `receive` gets what has arrived. `end` is called once, after all of it: with None if the
    sender has closed, or with the error of a connection that was reset. Both run in `context`.
    """

    def __init__(
        self,
        link: Link,
        way: Way,
        receive: Callable[[bytes], None],
        end: Callable[[Exception | None], None],
        context: Context,
    ) -> None:
        self.size = 0
        """Bytes in flight."""
        self.on_progress: Callable[[], None] | None = None
        """Called after bytes have arrived, for a sender that waits for room."""
        self.is_over = False
        """Whether its end has arrived, or the receiving end is gone."""
        self.is_held = False
        """Whether the receiver does not read."""
        self._link = link
        self._way = way
        self._loop = link.loop
        self._receive = receive
        self._end = end
        self._context = context
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._ends_at = 0.0
        self._ending: Exception | None = None
        self._is_finished = False
        self._timer_is_set = False

    def send(self, data: bytes) -> None:
        """Put bytes on their way. After `finish` they are lost, as on a socket that was reset."""
        if self._is_finished or not data:
            return
        link = self._link
        self.size += len(data)
        fraction = link.draw_fraction()
        if fraction < link.odd_share:
            for piece in self._split(data):
                self._add_piece(piece, link.draw_odd_delay())
        else:
            self._add_piece(data, link.scale_delay(fraction))

    def finish(self, error: Exception | None = None) -> None:
        """Let the other end see the end of the stream, after what is in flight."""
        if not self._is_finished:
            self._is_finished = True
            self._ending = error
            self._ends_at = self._loop.time() + self._link.draw_delay()
            self.check_arrivals()

    def cut(self, error: Exception | None) -> None:
        """Lose a drawn part of what is in flight, from its end on, and finish."""
        kept = self._draw_kept_bytes()
        data = b"".join(piece for _, piece in self._pieces)[:kept]
        self._pieces.clear()
        self.size = kept
        if data:
            self._add_piece(data, self._link.draw_delay())
        self.finish(error)

    def discard(self) -> None:
        """Lose everything, also the end: the receiving end is gone."""
        self._pieces.clear()
        self.size = 0
        self._is_finished = self.is_over = True

    def hold(self) -> None:
        """Let nothing arrive, until `resume`: the receiver does not read."""
        self.is_held = True

    def resume(self) -> None:
        """Go on after `hold`."""
        self.is_held = False
        self.check_arrivals()

    def check_arrivals(self) -> None:
        """Set the timer of the next arrival, if there is one: also after a freeze has ended."""
        due_at = self._find_due_time()
        if due_at < math.inf and not self._timer_is_set:
            self._timer_is_set = True
            self._loop.call_at(due_at, self._arrive, context=self._context)

    def _draw_kept_bytes(self) -> int:
        """Return how much of what is in flight arrives: nothing, all, some writes, or some bytes.

        Each of them is as likely: of single bytes alone, a whole command would rarely arrive.
        """
        chance = self._link.chance
        writes = chance.draw_between(0, len(self._pieces))
        bounds = (
            0,
            self.size,
            sum(len(piece) for _, piece in islice(self._pieces, writes)),
            chance.draw_between(0, self.size),
        )
        return chance.pick(bounds)

    def _split(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces of drawn lengths."""
        chance = self._link.chance
        cuts = [chance.draw_between(0, len(data)) for _ in range(chance.draw_below(MAX_PIECES))]
        for start, end in pairwise(sorted({0, *cuts, len(data)})):
            yield data[start:end]

    def _add_piece(self, data: bytes, delay: float) -> None:
        self._pieces.append((self._loop.time() + delay, data))
        if not self._timer_is_set:
            self.check_arrivals()

    def _find_due_time(self) -> float:
        """Return when the next bytes or the end arrive; infinity if nothing does."""
        if self.is_over or self.is_held or self._way.freeze_count:
            return math.inf
        if self._pieces:
            return self._pieces[0][0]
        return self._ends_at if self._is_finished else math.inf

    def _arrive(self) -> None:
        """Hand over what has arrived, or its end. It is not due if the link was cut or frozen."""
        self._timer_is_set = False
        now = self._loop.time()
        if self._find_due_time() > now:
            self.check_arrivals()
        elif self._pieces:
            self._hand_over(now)
            if self._pieces or self._is_finished:
                self.check_arrivals()
        else:
            self.is_over = True
            self._end(self._ending)

    def _hand_over(self, now: float) -> None:
        """Give the receiver all bytes that have arrived."""
        pieces = self._pieces
        data = pieces.popleft()[1]
        while pieces and pieces[0][0] <= now:
            data += pieces.popleft()[1]
        self.size -= len(data)
        self._receive(data)
        if self.on_progress:
            self.on_progress()
