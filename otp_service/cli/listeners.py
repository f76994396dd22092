"""Listening sockets, their options, and the descriptors that their connections need."""

import errno
import resource
import socket
import sys
from typing import Final

from otp_service.cli.command import CommandError


BACKLOG_CONNECTIONS: Final = 2048
"""Connections that wait to be accepted."""

UNSENT_DATA_MILLISECONDS: Final = 60_000
"""Time after which the kernel closes a connection whose client does not take its response."""

MAX_DESCRIPTORS: Final = 65_536

RESERVED_DESCRIPTORS: Final = 512
"""For Redis, providers and files. A server without a descriptor would try to accept all the time."""


_REMEDY_BY_ERRNO: Final = {
    errno.EADDRINUSE: "Another program uses it: stop that program.",
    errno.EADDRNOTAVAIL: "This machine does not have the address.",
    errno.EACCES: "Ports below 1024 need the capability CAP_NET_BIND_SERVICE.",
}


def open_listener(host: str, port: int, *, advice: str) -> socket.socket:
    """Return a listening socket. Raises CommandError with the advice if it cannot be used."""
    sock = bind_listener(host, port, advice=advice)
    sock.listen(BACKLOG_CONNECTIONS)
    return sock


def bind_listener(host: str, port: int, *, advice: str, is_shared: bool = False) -> socket.socket:
    """Return a socket that does not listen yet. Raises CommandError with the advice.

    With `is_shared` other sockets of this user may be bound to the same address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    _set_options(sock, is_shared=is_shared)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or "a port must be from 0 to 65535"
        remedy = f"{_find_remedy(error)} {advice}".strip()
        raise CommandError(f"cannot listen on {host}:{port}: {reason}. {remedy}") from error
    sock.settimeout(0)
    return sock


def _find_remedy(error: Exception) -> str:
    """Return what else than another address helps; empty if nothing does."""
    if isinstance(error, socket.gaierror):
        return "The name has no address here: write an address of this machine."
    return _REMEDY_BY_ERRNO.get(getattr(error, "errno", None) or 0, "")


def _set_options(sock: socket.socket, *, is_shared: bool) -> None:
    """Set the options of a listener, which Linux copies to its connections."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if is_shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sys.platform == "linux":
        option = socket.TCP_USER_TIMEOUT
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_DATA_MILLISECONDS)


def format_address(sock: socket.socket) -> str:
    """Return host and port in the form of a URL."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors, of which each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit_connections(wanted: int) -> int:
    """Return how many connections the limit of file descriptors allows, at most `wanted`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVED_DESCRIPTORS))
