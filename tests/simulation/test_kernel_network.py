"""The simulated network carries bytes as TCP does."""

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.connection import ServerConnection
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated


ROUGH = Conditions(longest_delay=0.01, odd_share=0.5)
"""Half of all writes are split or late."""


class Client(asyncio.Protocol):
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.data = b""
        self.pieces = 0
        self.seen: list[Any] = []
        self.transport: asyncio.Transport
        self.is_lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.seen.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append(exc)
        self.is_lost.set_result(exc)

    def pause_writing(self) -> None:
        self.seen.append("pause")

    def resume_writing(self) -> None:
        self.seen.append("resume")


class Server:
    """Echoes what it gets, and notes it."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self.data = b""
        self.is_closed = False
        self.connection: ServerConnection
        network.listen("server", 80, self.accept)

    def accept(self, connection: ServerConnection) -> None:
        self.connection = connection
        connection.on_data = self.echo
        connection.on_close = self.note_close

    def echo(self, data: bytes) -> None:
        self.data += data
        self.connection.write(data)

    def note_close(self) -> None:
        assert not self.is_closed  # it is called once
        self.is_closed = True


async def connect(network: SimulatedNetwork) -> tuple[Client, Server]:
    """Return both ends of a connection."""
    server = Server(network)
    _, client = await asyncio.get_running_loop().create_connection(Client, "server", 80)
    return client, server


@pytest.mark.parametrize("seed", range(20))
def test_bytes_arrive_in_order_in_other_pieces(seed: int):
    """In both directions."""
    sent = [bytes([number]) * (number % 17 + 1) for number in range(200)]

    async def main(network: SimulatedNetwork):
        client, server = await connect(network)
        for data in sent:
            client.transport.write(data)
            if data[0] % 3:
                await asyncio.sleep(0.002)
        await asyncio.sleep(10)
        return client, server

    client, server = run_simulated(main, seed=seed, conditions=ROUGH)

    assert b"".join(sent) == server.data
    assert b"".join(sent) == client.data
    assert client.pieces not in {1, len(sent)}


def test_pieces_are_split_and_joined():
    """Over many seeds a single write arrives in up to four pieces, and four writes arrive as one."""

    async def main(network: SimulatedNetwork):
        client, _ = await connect(network)
        client.transport.write(b"0123456789")
        await asyncio.sleep(1)
        pieces_of_one, client.pieces = client.pieces, 0
        for _ in range(4):
            client.transport.write(b"0123456789")
        await asyncio.sleep(1)
        return pieces_of_one, client.pieces

    counts = [run_simulated(main, seed=seed, conditions=ROUGH) for seed in range(200)]

    assert {1, 2, 3, 4} <= {one for one, _ in counts}
    assert 1 in {four for _, four in counts}


def test_an_unknown_host_and_a_closed_port_are_refused_as_by_a_real_loop():
    """The errors of the operating system, with their numbers."""

    async def main(network: SimulatedNetwork):
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Client, "nowhere", 80)
        Server(network)
        network.stop_listening("server", 80)
        with pytest.raises(ConnectionRefusedError, match="Connect call failed") as caught:
            await loop.create_connection(Client, "server", 80)
        return caught.value.errno

    assert errno.ECONNREFUSED == run_simulated(main)


def test_the_end_of_the_server_reaches_the_client_after_its_bytes():
    """And closes its transport."""

    async def main(network: SimulatedNetwork):
        client, server = await connect(network)
        server.connection.write(b"last words")
        server.connection.close()
        error = await client.is_lost
        return client, error, client.transport.is_closing(), network.list_links()[0].connections

    client, error, is_closing, connections = run_simulated(main, conditions=ROUGH)

    assert (b"last words", None, True, []) == (client.data, error, is_closing, connections)


def test_the_end_of_the_client_reaches_the_server_after_its_bytes():
    """The client itself is told at once, and gets nothing more."""

    async def main(network: SimulatedNetwork):
        client, server = await connect(network)
        client.transport.write(b"last words")
        client.transport.close()
        client.transport.write(b"too late")
        assert None is await client.is_lost
        assert not server.is_closed
        await asyncio.sleep(1)
        return client, server, network.list_links()[0].connections

    client, server, connections = run_simulated(main, conditions=ROUGH)

    assert (b"last words", True, []) == (server.data, server.is_closed, connections)
    assert (b"", ["made", None]) == (client.data, client.seen)


def test_a_connection_has_the_host_of_its_task():
    """Tasks inherit it, and callbacks of the server do not mix it up."""

    async def open_one(host: str):
        CURRENT_HOST.set(host)
        await asyncio.get_running_loop().create_connection(Client, "server", 80)

    async def main(network: SimulatedNetwork):
        Server(network)
        await asyncio.gather(open_one("host-1"), open_one("host-2"))
        await asyncio.get_running_loop().create_connection(Client, "server", 80)
        return sorted(map(str, network.list_links())), len(network.list_links(client="host-2"))

    names, count = run_simulated(main)

    assert ["client → server:80", "host-1 → server:80", "host-2 → server:80"] == names
    assert 1 == count


def test_what_an_end_starts_has_its_host():
    """A server that connects to another one when bytes arrive, and a client that does at a reply."""

    class Follower(Client):
        def data_received(self, _: bytes) -> None:
            open_connection("store")

    def open_connection(host: str) -> None:
        loop = asyncio.get_running_loop()
        tasks.append(loop.create_task(loop.create_connection(Client, host, 1)))

    def relay(connection: ServerConnection) -> None:
        open_connection("backup")
        connection.write(b"reply")
        connection.on_data = lambda _: open_connection("backup")

    tasks: list[Any] = []

    async def main(network: SimulatedNetwork):
        for host in ("store", "backup"):
            network.listen(host, 1, lambda _: None)
        CURRENT_HOST.set("server")
        network.listen("server", 80, relay)
        CURRENT_HOST.set("host-1")
        transport, _ = await asyncio.get_running_loop().create_connection(Follower, "server", 80)
        transport.write(b"request")
        await asyncio.sleep(1)
        await asyncio.gather(*tasks)
        return {str(link): len(link.connections) for link in network.list_links()}

    assert run_simulated(main) == {
        "host-1 → server:80": 1,
        "server → backup:1": 2,
        "host-1 → store:1": 1,
    }


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]):
    """docs/simulation.md."""
    _, example = Path("docs/simulation.md").read_text().split("```python\n")

    exec(example.split("```")[0], {})  # noqa: S102  # it is ours

    assert "b'hello'\n" == capsys.readouterr().out
