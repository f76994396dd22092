"""A server that answers commands as `tests/store/scripted_server.py` does, on the simulated network."""

from hiredis import Reader

from tests.simulation.kernel.connection import ServerConnection
from tests.simulation.kernel.network import SimulatedNetwork
from tests.store.scripted_server import answer


class TinyRedis:
    """Knows the commands of an introduction, ECHO, WAIT, and scripts that return their argument."""

    def __init__(self, network: SimulatedNetwork, host: str = "redis-1", port: int = 6379) -> None:
        self.commands: list[list[bytes]] = []
        """All that were run, in their order."""
        self.connections: list[ServerConnection] = []
        """The open ones."""
        self.is_silent = False
        """Whether it runs commands without sending the replies."""
        self.replica_count = 1
        """What WAIT answers."""
        self.url = f"redis://{host}:{port}"
        network.listen(host, port, self._accept)

    def _accept(self, connection: ServerConnection) -> None:
        reader = Reader()

        def run_commands(data: bytes) -> None:
            reader.feed(data)
            replies = b""
            while (command := reader.gets()) is not False:
                self.commands.append(command)
                is_wait = command[0] == b"WAIT"
                replies += b":%d\r\n" % self.replica_count if is_wait else answer(command)
            if not self.is_silent:
                connection.write(replies)

        connection.on_data = run_commands
        connection.on_close = lambda: self.connections.remove(connection)
        self.connections.append(connection)
