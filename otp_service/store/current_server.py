"""Which connections lead to the server that a name means now.

A name (of `redis.url`, or of a master behind Sentinel) leads to another server after a failover, while
the earlier one may keep its connections open: as a replica it answers reads and refuses writes. So
connections are numbered by generation. A new generation begins when a server shows that it may be the
wrong one, and when a new connection reaches another server than the one before. Connections of an
earlier generation are opened again at their next use, which resolves the name.
"""

import re
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from redis.asyncio.connection import AbstractConnection

from otp_service.store.failure_log import is_wrong_server


RESOLVE_INTERVAL_SECONDS = 0.5
"""Between two generations that errors begin.

While the name still leads to the wrong server, its connections are kept for so long. Otherwise each
call would open a new one.
"""

_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


class CurrentServer:
    """The server of the newest connection of a pool, and which connections are of its generation."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._generation = 0
        self._generations: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()
        self._run_id = b""
        self._left_at = -RESOLVE_INTERVAL_SECONDS

    def is_outdated(self, connection: AbstractConnection) -> bool:
        """Return whether a connection must be opened again before it is used."""
        return self._generations.get(connection, self._generation) != self._generation

    def add_connection(self, connection: AbstractConnection, run_id: bytes) -> bool:
        """Note a new connection; return whether it leads to another server than the one before.

        `run_id` is new after each start of a server. It is empty where INFO is not allowed.
        """
        is_other = bool(run_id) and run_id != self._run_id
        if is_other and self._run_id:
            self._generation += 1
        self._run_id = run_id or self._run_id
        self._generations[connection] = self._generation
        return is_other

    def leave(self, connection: AbstractConnection) -> None:
        """Outdate all connections, because this one shows that the server may be the wrong one."""
        now = self._clock()
        if self.is_outdated(connection) or now - self._left_at < RESOLVE_INTERVAL_SECONDS:
            return
        self._left_at = now
        self._generation += 1


def find_run_id(info: object) -> bytes:
    """Return the run id in a reply to INFO; empty for an error."""
    match = _RUN_ID.search(info) if isinstance(info, bytes) else None
    return match[1] if match else b""


def shows_wrong_server(
    commands: Sequence[tuple[str | bytes | int, ...]], replies: Sequence[object]
) -> bool:
    """Return whether replies show a server that may be the wrong one.

    It also may be where WAIT finds too few replicas: after a failover they follow the new master,
    and the old one does not know of it yet.
    """
    return any(
        is_wrong_server(reply)
        or (command[0] == "WAIT" and isinstance(reply, int) and reply < int(command[1]))
        for command, reply in zip(commands, replies, strict=True)
    )
