"""Commands about connections and settings, which are answered in the same way by every server."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.redis_model.replies import OK, ErrorReply, UnknownCommand


def run_client(command: list[bytes]) -> str:
    """CLIENT SETNAME name."""
    if len(command) != 3 or command[1] != b"SETNAME":
        raise UnknownCommand("ERR the model has CLIENT SETNAME alone")
    return OK


def run_select(command: list[bytes]) -> str:
    """SELECT 0."""
    if command[1:] != [b"0"]:
        raise UnknownCommand("ERR the model has one database")
    return OK


def run_echo(command: list[bytes]) -> bytes:
    """ECHO message."""
    if len(command) != 2:
        raise ErrorReply("ERR wrong number of arguments for 'echo' command")
    return command[1]


def run_config(command: list[bytes]) -> list[bytes]:
    """CONFIG GET appendfsync."""
    if command[1:] != [b"GET", b"appendfsync"]:
        raise UnknownCommand("ERR the model has CONFIG GET appendfsync alone")
    return [b"appendfsync", b"everysec"]


KEYLESS_COMMANDS: Mapping[bytes, Callable[[list[bytes]], Any]] = {
    b"CLIENT": run_client,
    b"CONFIG": run_config,
    b"ECHO": run_echo,
    b"SELECT": run_select,
}
