"""The way between a client host and one port of a server: what is slow, frozen or cut is a link."""

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.loop import SimulatedLoop


if TYPE_CHECKING:
    from tests.simulation.kernel.connection import Connection


class Way:
    """One direction of a link."""

    def __init__(self) -> None:
        self.freeze_count = 0
        """Freezes that have not ended; nothing arrives while there is one."""


class Link:
    """All connections of a client host to one port, and the delay that they share."""

    def __init__(
        self,
        loop: SimulatedLoop,
        chance: Chance,
        conditions: Conditions,
        name: tuple[str, str, int],
    ) -> None:
        self.loop = loop
        self.chance = chance
        self.conditions = conditions
        self.client, self.server, self.port = name
        self.connections: list[Connection] = []
        """The open ones, in the order of their opening."""
        self.draw_fraction = chance.draw_fraction
        self.odd_share = conditions.odd_share
        self.to_server, self.to_client = Way(), Way()
        self._shortest_delay = conditions.shortest_delay
        self._delay_span = conditions.longest_delay - conditions.shortest_delay
        self._thaws: list[asyncio.Future[None]] = []

    def __str__(self) -> str:
        return f"{self.client} → {self.server}:{self.port}"

    def scale_delay(self, fraction: float) -> float:
        """Return the seconds that a packet takes, from a fraction that was drawn."""
        return self._shortest_delay + self._delay_span * fraction

    def draw_delay(self) -> float:
        """Return the seconds that a packet takes."""
        return self.scale_delay(self.draw_fraction())

    def draw_odd_delay(self) -> float:
        """Return the seconds that a late packet takes."""
        return self._shortest_delay + self.conditions.longest_odd_delay * self.draw_fraction()

    def cut(self) -> None:
        """Break the open connections. Each direction loses a drawn part of what is in flight.

        So a command may be lost, or its reply alone. Both ends see it after a delay.
        """
        for connection in list(self.connections):
            connection.cut()

    def freeze(self) -> None:
        """Let nothing arrive until `thaw`. Nothing is lost, and neither end is informed.

        Freezes add up: it ends with the last of them.
        """
        self.to_server.freeze_count += 1
        self.to_client.freeze_count += 1

    def thaw(self) -> None:
        """End a freeze."""
        self.to_server.freeze_count -= 1
        self.thaw_replies()

    def freeze_replies(self) -> None:
        """Let nothing arrive at the client until `thaw_replies`. What it sends is run meanwhile."""
        self.to_client.freeze_count += 1

    def thaw_replies(self) -> None:
        """End a freeze of replies."""
        self.to_client.freeze_count -= 1
        assert min(self.to_server.freeze_count, self.to_client.freeze_count) >= 0
        for connection in list(self.connections):
            connection.resume()
        thaws, self._thaws = self._thaws, []
        for thaw in thaws:
            if not thaw.done():
                thaw.set_result(None)

    def slow(self, extra_seconds: float) -> None:
        """Add to each delay, until `hasten` with the same seconds."""
        self._shortest_delay += extra_seconds

    def hasten(self, extra_seconds: float) -> None:
        """End a `slow`."""
        self._shortest_delay -= extra_seconds

    async def cross(self) -> None:
        """Wait as a packet does that opens a connection."""
        await asyncio.sleep(2 * self.draw_delay())
        while self.to_server.freeze_count or self.to_client.freeze_count:
            self._thaws.append(self.loop.create_future())
            await self._thaws[-1]
