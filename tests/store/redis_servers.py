"""Real servers for tests: one, a cluster of three masters, and a master that Sentinel watches.

Every one is a child of this process with a folder of its own; it listens to this machine alone,
is stopped by its pid, and ends by itself should this process be killed.
"""

import contextlib
import fcntl
import functools
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from otp_service.store.client import ScriptClient
from otp_service.store.embedded import EmbeddedServer


WAIT_TIMEOUT_SECONDS = 60.0
"""Seconds until a wait fails, in all tests. It is long, because the machine may be busy."""

REDIS_7_BINARY = Path("/usr/bin/redis-server")
"""Debian's."""

SLOT_COUNT = 16384


SERVER_PORTS = range(20_000, 32_000)
"""Below the ports that Linux gives to clients, 32768 and above."""

_given_ports: set[int] = set()


def find_free_port() -> int:
    """Return a port that is free, and that no test process is given again until this one ends.

    A port that the kernel chooses is one that it also gives to clients. A connection of any process
    may have it by the time a server binds it, which failed the start of servers on a busy machine.
    """
    while True:
        port = SERVER_PORTS[secrets.randbelow(len(SERVER_PORTS))]
        if port not in _given_ports and _reserve_port(port) and _is_free(port):
            return port


def _reserve_port(port: int) -> bool:
    """Lock one byte of a file that all test processes share, until this process ends."""
    locks = _open_port_locks()
    try:
        fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    _given_ports.add(port)
    return True


@functools.cache
def _open_port_locks() -> int:
    """Return a descriptor, and not a file: nobody closes it before the process ends."""
    path = Path(tempfile.gettempdir()) / f"otp-test-port-locks-{os.getuid()}"
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def start_server(
    folder: Path, *, binary: Path | None = None, port: int | None = None, **options: str
) -> Iterator[EmbeddedServer]:
    """One server on a Unix socket, or on a port; an option's `_` stands for `-`."""
    lines = {name.replace("_", "-"): value for name, value in options.items()}
    with EmbeddedServer(folder, binary=binary, port=port, options=lines) as server:
        yield server


def open_client(server: EmbeddedServer) -> redis.Redis:
    """Return a client for the tests' own questions.

    Without `driver_info`: redis-py would read its own version from its metadata for each connection.
    """
    return redis.Redis.from_url(server.url, socket_timeout=5, driver_info=None)


def flush_server(server: EmbeddedServer) -> None:
    """Delete all data of a server. Nearly every test does, and a client costs more than its command."""
    family, address = (
        (socket.AF_UNIX, str(server.socket_path))
        if server.port is None
        else (socket.AF_INET, ("127.0.0.1", server.port))
    )
    with socket.socket(family) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(b"FLUSHALL\r\n")
        reply = connection.recv(100)
    assert reply == b"+OK\r\n", reply


def build_connect_options(masters: Sequence[EmbeddedServer]) -> dict[str, Any]:
    """Return the options of `connect` for one server, or for the several masters of a cluster."""
    if len(masters) > 1:
        return {"cluster": [f"127.0.0.1:{master.port}" for master in masters]}
    return {"url": masters[0].url}


def empty_masters(value: EmbeddedServer | list[EmbeddedServer]) -> list[EmbeddedServer]:
    """Delete all data of a server, or of the masters of a cluster; return it or them as a list."""
    masters = value if isinstance(value, list) else [value]
    for master in masters:
        flush_server(master)
    return masters


def wait_until(
    condition: Callable[[], object],
    *,
    timeout_seconds: float = WAIT_TIMEOUT_SECONDS,
    interval_seconds: float = 0.02,
    description: str = "it",
) -> None:
    """Wait for a condition that a server does not announce; `timeout_seconds` is the limit.

    A condition that makes a call with a rate limit is asked less often: each `interval_seconds`.
    """
    give_up = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{description} did not happen within {timeout_seconds:g} s")
        time.sleep(interval_seconds)


# ------------------------------------------------------------------------------------- cluster


@contextlib.contextmanager
def start_cluster(
    folder: Path, size: int = 3, *, node_timeout_ms: int = 2000
) -> Iterator[list[EmbeddedServer]]:
    """Masters that share the slots evenly; comes back when each of them says that all is well.

    After `node_timeout_ms` without an answer a master is taken for failed.

    A master waits two seconds before it takes writes (CLUSTER_WRITABLE_DELAY), so this does too.
    """
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_start_cluster_server(folder / str(i), node_timeout_ms))
            for i in range(size)
        ]
        clients = [stack.enter_context(open_client(server)) for server in servers]
        for i, client in enumerate(clients):
            first, last = SLOT_COUNT * i // size, SLOT_COUNT * (i + 1) // size - 1
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            for other in servers[:i]:
                bus = other._options["cluster-port"]
                client.execute_command("CLUSTER MEET", "127.0.0.1", other.port, bus)
        wait_until(
            lambda: all(_is_whole(client, size) for client in clients), description="the cluster"
        )
        yield servers


def _start_cluster_server(
    folder: Path, node_timeout_ms: int = 2000
) -> contextlib.AbstractContextManager[EmbeddedServer]:
    return start_server(
        folder,
        port=find_free_port(),
        cluster_enabled="yes",
        # The default is the port and 10000, which may be past the last port there is.
        cluster_port=str(find_free_port()),
        cluster_node_timeout=str(node_timeout_ms),
        repl_diskless_sync_delay="0",
    )


def _list_known_nodes(client: redis.Redis) -> set[str]:
    nodes: dict[str, dict[str, str]] = client.execute_command("CLUSTER NODES")
    return {node["node_id"] for node in nodes.values()}


def _is_whole(client: redis.Redis, size: int) -> bool:
    said = client.execute_command("CLUSTER INFO")
    return (said["cluster_state"], said["cluster_known_nodes"]) == ("ok", str(size))


@contextlib.contextmanager
def start_cluster_replica(folder: Path, master: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A replica of one master of a cluster, which every other server knows of."""
    with (
        _start_cluster_server(folder) as server,
        open_client(server) as client,
        open_client(master) as old,
    ):
        bus = master._options["cluster-port"]
        client.execute_command("CLUSTER MEET", "127.0.0.1", master.port, bus)
        name = old.execute_command("CLUSTER MYID").decode()
        wait_until(lambda: name in _list_known_nodes(client), description="the meeting")
        client.execute_command("CLUSTER REPLICATE", name)
        wait_until(
            lambda: client.info("replication").get("master_link_status") == "up",
            description="the replica's first synchronisation",
        )
        yield server


# ------------------------------------------------------------------------------------ sentinel


class SentinelServer(EmbeddedServer):
    """The same program as a Sentinel, which writes what it learns into its configuration."""

    def __init__(
        self, folder: Path, master: EmbeddedServer, name: str, *, down_after_ms: int = 300
    ) -> None:
        super().__init__(folder, port=find_free_port())
        self._monitor_settings = {
            f"sentinel monitor {name}": f"127.0.0.1 {master.port} 1",
            f"sentinel down-after-milliseconds {name}": str(down_after_ms),
            f"sentinel failover-timeout {name}": "3000",
        }

    def _build_config(self) -> str:
        settings: Mapping[str, str] = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.data),
            **self._monitor_settings,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _start_process(self, lock: int) -> subprocess.Popen[bytes]:
        config = self.data / "sentinel.conf"
        config.write_text(self._build_config())
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [self.binary, config, "--sentinel"],
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                process_group=0,
            )


@contextlib.contextmanager
def start_sentinel(
    folder: Path, name: str = "otp"
) -> Iterator[tuple[EmbeddedServer, EmbeddedServer, SentinelServer]]:
    """A master, its replica, and a Sentinel that has found both."""
    with start_sentinel_of(folder, [100], name) as (master, (replica,), sentinel):
        yield master, replica, sentinel


@contextlib.contextmanager
def start_sentinel_of(
    folder: Path,
    priorities: Sequence[int],
    name: str = "otp",
    *,
    binaries: Mapping[int, Path] | None = None,
    down_after_ms: int = 300,
) -> Iterator[tuple[EmbeddedServer, list[EmbeddedServer], SentinelServer]]:
    """Start a master, a replica of each priority, and a Sentinel that has found all of them.

    `binaries` are the programs of single replicas, by their index. A master that is silent for
    `down_after_ms` is replaced, also if the machine was only busy.
    """
    with contextlib.ExitStack() as stack:
        at_once = start_server(
            folder / "master", port=find_free_port(), repl_diskless_sync_delay="0"
        )
        master = stack.enter_context(at_once)
        replicas = [
            stack.enter_context(
                start_replica(
                    folder / f"replica{i}",
                    master,
                    priority=priority,
                    binary=(binaries or {}).get(i),
                )
            )
            for i, priority in enumerate(priorities)
        ]
        sentinel = stack.enter_context(
            SentinelServer(folder / "sentinel", master, name, down_after_ms=down_after_ms)
        )
        asked = stack.enter_context(open_client(sentinel))
        # It asks a replica for its priority after it has heard of it.
        wait_until(
            lambda: (
                sorted(one["slave-priority"] for one in asked.sentinel_slaves(name))
                == sorted(priorities)
            ),
            description="the Sentinel's discovery",
        )
        yield master, replicas, sentinel


@contextlib.contextmanager
def start_replica(
    folder: Path, master: EmbeddedServer, *, priority: int = 100, binary: Path | None = None
) -> Iterator[EmbeddedServer]:
    """A replica that has caught up with its master."""
    follow = f"127.0.0.1 {master.port}"
    # Without a delay, as the master: after its promotion the others synchronise with it.
    replica = start_server(
        folder,
        binary=binary,
        port=find_free_port(),
        replicaof=follow,
        replica_priority=str(priority),
        repl_diskless_sync_delay="0",
    )
    with replica as server:
        with open_client(server) as client:
            wait_until(
                lambda: client.info("replication")["master_link_status"] == "up",
                description="the replica's first synchronisation",
            )
        yield server


def promote_replica(sentinel: SentinelServer, replica: EmbeddedServer, name: str = "otp") -> None:
    """Have the Sentinel make a replica the master, and come back when it says that it is."""
    with open_client(sentinel) as client:
        wait_until(
            lambda: _start_failover(client, name), description="a replica that the Sentinel trusts"
        )
        wait_until(lambda: client.sentinel_get_master_addr_by_name(name)[1] == replica.port)


def _start_failover(sentinel: redis.Redis, name: str) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL FAILOVER", name))
    except redis.exceptions.ResponseError:
        return False


def kill_server(server: EmbeddedServer) -> None:
    """End it as a power cut would; its context manager still cleans up."""
    os.kill(server.pid, 9)


@contextlib.contextmanager
def suspend_server(server: EmbeddedServer) -> Iterator[None]:
    """Suspend the process; clients that connect or send a command wait until the block ends."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def is_key_owner(client: redis.Redis, key: str) -> bool:
    """Return whether this master of a cluster owns the slot of the key."""
    try:
        client.get(key)
    except redis.exceptions.MovedError:
        return False
    return True


async def list_keys(script_client: ScriptClient, pattern: str = "*") -> set[str]:
    """Return the keys of all masters; a cluster's client would ask one of them."""
    found = [
        await script_client.read_from(master, "KEYS", pattern)
        for master in await script_client.list_masters()
    ]
    return {key.decode() for keys in found for key in keys}
