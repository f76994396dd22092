"""A network of named hosts: who listens, how connections open, and which hosts do not reach another."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import NamedTuple, TypeVar

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.connection import Connection, ServerConnection
from tests.simulation.kernel.link import Link
from tests.simulation.kernel.loop import SimulatedLoop


ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

Accept = Callable[[ServerConnection], None]


class _Listener(NamedTuple):
    accept: Accept
    context: Context


class SimulatedNetwork:
    """Opens the connections of a SimulatedLoop. Faults are those of `Link`, and partitions."""

    def __init__(
        self, loop: SimulatedLoop, chance: Chance, conditions: Conditions | None = None
    ) -> None:
        self.conditions = conditions or Conditions()
        self.loop = loop
        self._chance = chance
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._hosts: set[str] = set()
        self._links: dict[tuple[str, str, int], Link] = {}
        self._partitions: set[frozenset[str]] = set()
        loop.connect = self.connect

    def listen(self, host: str, port: int, accept: Accept) -> None:
        """Call `accept` with each new connection to a port. What was listening there is replaced."""
        self._hosts.add(host)
        self._listeners[host, port] = _Listener(accept, copy_context())

    def stop_listening(self, host: str, port: int) -> None:
        """Refuse new connections; those that are open stay open."""
        del self._listeners[host, port]

    def list_links(self, *, client: str | None = None, server: str | None = None) -> list[Link]:
        """Return the links that were used, in the order of their first use, or those of a host."""
        return [
            link
            for link in self._links.values()
            if client in (None, link.client) and server in (None, link.server)
        ]

    def partition(self, one: str, other: str) -> None:
        """Let nothing pass between two hosts, in silence, until `heal`."""
        if (hosts := frozenset((one, other))) not in self._partitions:
            self._partitions.add(hosts)
            for link in self._list_links_between(one, other):
                link.freeze()

    def heal(self, one: str, other: str) -> None:
        """End a partition. What was sent meanwhile arrives, as TCP repeats it."""
        if (hosts := frozenset((one, other))) in self._partitions:
            self._partitions.remove(hosts)
            for link in self._list_links_between(one, other):
                link.thaw()

    async def connect(
        self, factory: Callable[[], ProtocolT], host: str, port: int
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Open a connection from the current host. Raises OSError as a real loop does."""
        link = self._get_link(CURRENT_HOST.get(), host, port)
        await link.cross()
        listener = self._find_listener(host, port)
        protocol = factory()
        connection = Connection(link, protocol, listener.context)
        listener.context.run(listener.accept, connection.server)
        is_open = self.loop.create_future()
        self.loop.call_soon(protocol.connection_made, connection.transport)
        self.loop.call_soon(_set_unless_done, is_open)
        try:
            await is_open
        except BaseException:
            connection.transport.close()
            raise
        return connection.transport, protocol

    def _find_listener(self, host: str, port: int) -> _Listener:
        if host not in self._hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        listener = self._listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"Connect call failed ({host!r}, {port})"
            )
        return listener

    def _get_link(self, client: str, server: str, port: int) -> Link:
        name = (client, server, port)
        link = self._links.get(name)
        if link is None:
            chance = self._chance.derive(f"{client} {server} {port}")
            link = self._links[name] = Link(self.loop, chance, self.conditions, name)
            if frozenset((client, server)) in self._partitions:
                link.freeze()
        return link

    def _list_links_between(self, one: str, other: str) -> list[Link]:
        ends = {one, other}
        return [link for link in self._links.values() if {link.client, link.server} == ends]


def _set_unless_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
