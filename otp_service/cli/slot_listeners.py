"""The listening sockets of the workers: one for each slot, all on one address (SO_REUSEPORT).

The kernel spreads connections over them, as `port_spread.py` says. On one shared socket a single worker
accepted 29 to 32 of 32 connections that a client opened at once. The supervisor keeps the sockets: a worker and its successor
use the same one, so a reload loses no connection that waits to be accepted.
"""

import socket
import sys

from otp_service.cli.listeners import bind_listener


PORT_ADVICE = (
    "Or choose another one: service.host and service.port, or service.admin_host and service.admin_port, in "
    "the configuration; OTP_SERVICE__PORT and so on in the environment."
)


class SlotListeners:
    """The sockets by slot. A socket does not listen until its worker serves."""

    def __init__(self, host: str, port: int, slots: int) -> None:
        """Raises CommandError if another program uses the address."""
        # With SO_REUSEPORT alone, a second service of the same user would share the connections.
        bind_listener(host, port, advice=PORT_ADVICE).close()
        first = bind_listener(host, port, advice=PORT_ADVICE, is_shared=True)
        self._host, self._port = host, first.getsockname()[1]
        # Elsewhere the kernel does not spread connections over sockets, but all may accept from one.
        self._is_spread = sys.platform == "linux"
        self._sockets = [first, *(self._bind_next(first) for _ in range(1, slots))]

    def _bind_next(self, first: socket.socket) -> socket.socket:
        if not self._is_spread:
            return first.dup()
        return bind_listener(self._host, self._port, advice=PORT_ADVICE, is_shared=True)

    def __getitem__(self, slot: int) -> socket.socket:
        return self._sockets[slot]

    def abandon_queue(self, slot: int) -> None:
        """Replace the socket of a slot whose worker died: its connections go to other slots.

        Those that wait in its queue are reset. Otherwise they would wait for the next worker.
        """
        if self._is_spread:
            successor = self._bind_next(self._sockets[slot])
            self._sockets[slot].close()
            self._sockets[slot] = successor

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
