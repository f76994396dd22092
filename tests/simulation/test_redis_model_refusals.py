"""What a server refuses, and with which words, by the model and by a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from otp_service.store.commit_request import read_lua
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.health import READY_SCRIPT
from otp_service.store.lua_script import LuaScript
from tests.simulation.redis_model.server_state import TOO_FEW_REPLICAS
from tests.simulation.twin_lines import TwinLines


FETCH = LuaScript(read_lua("fetch"))

COMMANDS: tuple[tuple[Any, ...], ...] = (
    ("EVALSHA", READY_SCRIPT.sha, 1, "k", "token"),
    ("EVAL", READY_SCRIPT.source, 1, "k", "token"),
    ("EVALSHA", FETCH.sha, 1, "k", "0", "token"),
    ("EVALSHA", "f" * 40, 1, "k", "token"),
    ("SET", "k", "v"),
    ("GET", "k"),
    ("ZADD", "z", 1, "m"),
    ("HDEL", "h", "f"),
    ("SREM", "s", "m"),
    ("PEXPIRE", "k", 1000),
    ("INFO", "replication"),
    ("INFO", "persistence"),
    ("CONFIG", "GET", "appendfsync"),
    ("ECHO", "m"),
    ("WAIT", 0, 1),
)


@pytest.fixture
def lines(server: EmbeddedServer) -> Iterator[TwinLines]:
    """Both servers, with the scripts loaded."""

    async def create() -> TwinLines:
        return TwinLines(server.socket_path)

    lines = asyncio.run(create())
    for script in (READY_SCRIPT, FETCH):
        lines.run_both(("EVAL", script.source, 1, "k", "0", "token"))
    yield lines
    lines.run_alone("REPLICAOF", "NO", "ONE")
    lines.run_alone("CONFIG", "SET", "maxmemory", "0", "min-replicas-to-write", "0")
    lines.close()


def compare_commands(lines: TwinLines) -> list[str]:
    """Run each command on both, and return the words that came first in each reply."""
    replies = [lines.run_both(command) for command in COMMANDS]
    lines.compare_data()
    return [str(reply).split()[0] for reply in replies if isinstance(reply, Exception)]


def test_only_an_unknown_script_is_refused_without_a_reason(lines: TwinLines) -> None:
    """Its source is sent next."""
    assert ["NOSCRIPT"] == compare_commands(lines)


def test_a_full_server_refuses_what_may_need_memory(lines: TwinLines) -> None:
    """Scripts that may write as a whole; deletions work."""
    lines.run_alone("CONFIG", "SET", "maxmemory", "1")
    lines.model.is_full = True

    assert ["OOM", "OOM", "NOSCRIPT", "OOM", "OOM"] == compare_commands(lines)


def test_a_server_without_its_replicas_refuses_writes(lines: TwinLines) -> None:
    """min-replicas-to-write."""
    lines.run_alone("CONFIG", "SET", "min-replicas-to-write", "1")
    lines.model.write_refusal = TOO_FEW_REPLICAS

    assert ["NOREPLICAS"] * 2 == compare_commands(lines)[:2]


def test_a_replica_refuses_writes_and_wait(lines: TwinLines) -> None:
    """Reads work, and INFO says what it is."""
    lines.run_alone("REPLICAOF", "127.0.0.1", "1")
    lines.model.demote()

    found = compare_commands(lines)

    assert ["READONLY"] * 2 == found[:2]
    assert "ERR" == found[-1]


@pytest.mark.parametrize(
    "command",
    [
        ("CLIENT", "SETNAME", "otp-service"),
        ("SELECT", 0),
        ("AUTH", "secret"),
        ("AUTH", "user", "secret"),
        ("INFO", "server"),
        ("INFO", "memory"),
        ("GET",),
        ("GET", "a", "b"),
    ],
)
def test_an_introduction_is_answered_as_by_a_real_server(
    lines: TwinLines, command: tuple[Any, ...]
) -> None:
    """Also one with a password where there is none."""
    lines.compare_alone(command)


def test_a_password_is_asked_for_in_the_words_of_a_real_server(lines: TwinLines) -> None:
    """Before it, and after a wrong one."""
    lines.run_alone("CONFIG", "SET", "requirepass", "secret")
    lines.model.password = b"secret"
    lines.reconnect()
    try:
        for command in (("GET", "k"), ("AUTH", "wrong"), ("GET", "k"), ("AUTH", "u", "secret")):
            assert isinstance(lines.compare_alone(command), Exception)
        for command in (("AUTH", "secret"), ("GET", "k"), ("AUTH", "default", "secret")):
            assert not isinstance(lines.compare_alone(command), Exception)
    finally:
        lines.run_alone("AUTH", "secret")
        lines.run_alone("CONFIG", "SET", "requirepass", "")
