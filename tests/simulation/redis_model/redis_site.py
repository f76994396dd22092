"""The Redis of a run: an address, the server that it means, its replicas, and all faults of both."""

import asyncio
from enum import Enum
from typing import NamedTuple

from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.replication import Replica, Replication
from tests.simulation.redis_model.server import SimulatedServer
from tests.simulation.redis_model.server_clock import ServerClock


class Address(NamedTuple):
    """What the name of the store leads to."""

    host: str
    port: int


class FormerMaster(Enum):
    """What becomes of the master that a replica replaces."""

    GONE = "its connections are reset"
    DEMOTED = "it keeps its connections, and refuses writes"
    UNAWARE = "it takes writes that are lost, until `demote_former`"


class RedisSite:
    """A master at an address and its replicas. Every fault names what it does to the data.

    A replica gets each write after a drawn part of `longest_lag_seconds`.
    """

    def __init__(  # noqa: PLR0913  # each is a property of the run
        self,
        loop: asyncio.AbstractEventLoop,
        network: SimulatedNetwork,
        chance: Chance,
        *,
        start_ms: int,
        address: tuple[str, int] = ("redis", 6379),
        replicas: int = 0,
        longest_lag_seconds: float = 0.002,
    ) -> None:
        self.address = Address(*address)
        self.clock = ServerClock(loop, start_ms)
        self.longest_lag_seconds = longest_lag_seconds
        self.servers: list[SimulatedServer] = []
        """All that the address has meant, the current one at the end."""
        self._loop, self._network, self._chance = loop, network, chance
        self._is_down = True
        self._lags = chance.derive("lags")
        followers = [Replica(f"replica-{i}", self._draw_lag) for i in range(replicas)]
        self._use(Keyspace(self.clock), followers)
        self.start()

    @property
    def server(self) -> SimulatedServer:
        """The server that the address means."""
        return self.servers[-1]

    @property
    def findings(self) -> list[str]:
        """What was sent that the model does not have."""
        servers = dict.fromkeys(self.servers)
        return [finding for server in servers for finding in server.findings]

    # ---- one server

    def crash(self) -> None:
        """End the process: its connections break, and new ones are refused."""
        if not self._is_down:
            self._is_down = True
            self._network.stop_listening(*self.address)
        self.server.reset_connections()
        self.server.is_frozen = False

    def start(self) -> None:
        """Let the server take connections."""
        self._is_down = False
        self._network.listen(*self.address, self.server.accept)

    def restart(self, lost_writes: int = 0) -> None:
        """Start the process again after a crash, without the last commands that have written."""
        self.crash()
        self.server.restart(lost_writes)
        self.start()

    def replace_by_empty(self) -> None:
        """Let the address mean a server without data, as after the loss of a disk."""
        self.crash()
        followers = self.server.replication.replicas
        self._use(Keyspace(self.clock), followers)
        for follower in followers:
            follower.synchronize(0)
        self.start()

    def jump_clock(self, ms: int, *, has_swept: bool = True) -> None:
        """Set the clock of the server forward or back.

        `has_swept` says that Redis had time to delete what has expired until then: without it, keys that
        nothing has read come back when the clock is set back.
        """
        if has_swept:
            self.server.keyspace.sweep_expired()
        self.clock.shift_ms += ms

    # ---- replicas

    def stall_replicas(self, count: int) -> None:
        """Let the first replicas get and acknowledge nothing more; the others go on."""
        replication, now = self.server.replication, self._loop.time()
        for replica in replication.replicas[:count]:
            if not replica.is_stalled:
                replica.stall(now)
        replication.review_waiters()

    def resume_replicas(self) -> None:
        """Send the replicas what they lack."""
        replication, now = self.server.replication, self._loop.time()
        for replica in replication.replicas:
            replica.is_online = True
            if replica.is_stalled:
                replica.resume(now)
        replication.review_waiters()

    def add_replica(self, name: str) -> None:
        """Let one more server follow the master; it has all of its data."""
        server = self.server
        follower = Replica(name, self._draw_lag, server.keyspace.offset)
        server.replication.replicas.append(follower)
        server.replication.review_waiters()

    def fail_over(self, former: FormerMaster, *, choice: int | None = None) -> int:
        """Make a replica the master, and return how many writes are lost with the old one.

        The replica is the one with most data, or that of an index. Raises ValueError without replicas.
        """
        old, now = self.server, self._loop.time()
        candidates = old.replication.replicas
        if not candidates:
            raise ValueError("there is no replica to promote")
        chosen = (
            candidates[choice]
            if choice is not None
            else max(candidates, key=lambda replica: replica.find_offset(now))
        )
        offset = chosen.find_offset(now)
        keyspace = old.keyspace.copy()
        keyspace.roll_back(offset)
        lost = sum(boundary > offset for boundary in old.write_boundaries)
        followers = [self._follow(replica, offset) for replica in candidates if replica != chosen]
        self._leave(old, former)
        self._use(keyspace, followers)
        self.server.write_boundaries = [b for b in old.write_boundaries if b <= offset]
        self.start()
        return lost

    def bring_back(self, server: SimulatedServer) -> None:
        """Let the address mean an earlier server again, which started with the data that it had."""
        self.crash()
        server.is_replica = False
        offset = server.keyspace.offset  # less than its own writes if it has followed another one
        server.write_boundaries = [one for one in server.write_boundaries if one <= offset]
        server.restart()
        server.replication.replicas.clear()
        self.servers.append(server)
        self.start()

    def demote_former(self) -> None:
        """Let every earlier master know that it is a replica; it has synchronized with the master."""
        for server in dict.fromkeys(self.servers):
            if server is self.server:
                continue
            server.keyspace = self.server.keyspace.copy()
            server.demote()

    def _leave(self, old: SimulatedServer, former: FormerMaster) -> None:
        """Do to the old master what becomes of it. Its replicas follow another one."""
        now = self._loop.time()
        if former is FormerMaster.GONE:
            self.crash()
            return
        for replica in old.replication.replicas:
            replica.stall(now)
            replica.is_online = False
        if former is FormerMaster.DEMOTED:
            old.demote()
        old.replication.review_waiters()

    def _follow(self, replica: Replica, offset: int) -> Replica:
        """Return a replica as the new master has it: with the data of the master."""
        follower = Replica(replica.name, self._draw_lag, offset)
        if replica.is_stalled:
            follower.stall(self._loop.time())
        return follower

    def _use(self, keyspace: Keyspace, replicas: list[Replica]) -> None:
        number = len(self.servers)
        replication = Replication(self._loop, replicas)
        chance = self._chance.derive(f"server {number}")
        server = SimulatedServer(f"redis-{number}", keyspace, chance, replication)
        self.servers.append(server)

    def _draw_lag(self) -> float:
        return self._lags.draw_fraction() * self.longest_lag_seconds
