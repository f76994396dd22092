"""Which connections lead to the server that a name means now.

A name (of `redis.url`, or of a master behind Sentinel) leads to another server after a failover, while
the earlier one may keep its connections open: as a replica it answers reads and refuses writes. So
lines are numbered by generation. A new generation begins when a server shows that it may be the wrong
one, and when a new line reaches another server than the one before. Lines of an earlier generation are
replaced at their next use, which resolves the name.
"""

import asyncio
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from otp_service.store.failure_log import is_wrong_server
from otp_service.store.line import Line, Request


RESOLVE_INTERVAL_SECONDS = 0.5
"""Between two generations that errors begin.

While the name still leads to the wrong server, its lines are kept for so long. Otherwise each call
would open a new one.
"""


class CurrentServer:
    """The server of the newest line, and which lines are of its generation."""

    def __init__(self) -> None:
        self._generation = 0
        self._generations: WeakKeyDictionary[Line, int] = WeakKeyDictionary()
        self._run_id = ""
        self._left_at = -RESOLVE_INTERVAL_SECONDS

    def is_outdated(self, line: Line) -> bool:
        """Return whether a line must be replaced before it is used."""
        return self._generations.get(line, self._generation) != self._generation

    def add_line(self, line: Line, run_id: str) -> bool:
        """Note a new line; return whether it leads to another server than the one before.

        `run_id` is new after each start of a server. It is empty where INFO is not allowed.
        """
        is_other = bool(run_id) and run_id != self._run_id
        if is_other and self._run_id:
            self._generation += 1
        self._run_id = run_id or self._run_id
        self._generations[line] = self._generation
        return is_other

    def leave(self, line: Line) -> None:
        """Outdate all lines, because this one shows that the server may be the wrong one."""
        now = asyncio.get_running_loop().time()
        if self.is_outdated(line) or now - self._left_at < RESOLVE_INTERVAL_SECONDS:
            return
        self._left_at = now
        self._generation += 1


def shows_wrong_server(requests: Sequence[Request], replies: Sequence[object]) -> bool:
    """Return whether replies show a server that may be the wrong one.

    It also may be where WAIT finds too few replicas: after a failover they follow the new master,
    and the old one does not know of it yet.
    """
    return any(
        is_wrong_server(reply)
        or (command[0] == "WAIT" and isinstance(reply, int) and reply < int(command[1]))
        for (command, _), reply in zip(requests, replies, strict=True)
    )
