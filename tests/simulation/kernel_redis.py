"""A server that answers commands as `tests/store/scripted_server.py` does, on the simulated network."""

from collections.abc import Callable

from hiredis import Reader

from tests.simulation.kernel.connection import ServerConnection
from tests.simulation.kernel.network import SimulatedNetwork
from tests.store.scripted_server import answer


class TinyRedis:
    """Answers each command with the bytes that `respond` returns; None closes the connection."""

    def __init__(
        self,
        network: SimulatedNetwork,
        respond: Callable[[list[bytes]], bytes | None] = answer,
        *,
        host: str = "redis-1",
        port: int = 6379,
    ) -> None:
        self.respond = respond
        self.commands: list[list[bytes]] = []
        """All that were run, in their order."""
        self.connections: list[ServerConnection] = []
        """The open ones."""
        self.url = f"redis://{host}:{port}"
        network.listen(host, port, self._accept)

    def _accept(self, connection: ServerConnection) -> None:
        reader = Reader()

        def run_commands(data: bytes) -> None:
            reader.feed(data)
            while (command := reader.gets()) is not False:
                self.commands.append(command)
                reply = self.respond(command)
                if reply is None:
                    connection.close()
                    self.connections.remove(connection)
                    break
                connection.write(reply)

        connection.on_data = run_commands
        connection.on_close = lambda: self.connections.remove(connection)
        self.connections.append(connection)
