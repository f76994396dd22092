"""Running scripts and commands on one Redis, behind Sentinel, or on a cluster.

ScriptClient repeats only commands that read. A caller that repeats a script, with
`ScriptClient.retry_lost_reply`, does so with the same operation id.
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import NotReplicated, StoreUnavailable
from otp_service.store.cluster_lines import ClusterLines
from otp_service.store.failure_log import FailureLog, is_wrong_server
from otp_service.store.line import Command, Request
from otp_service.store.lua_script import LuaScript
from otp_service.store.reply_errors import CallInterrupted, ServerUnavailable
from otp_service.store.server_checks import Address, check_server
from otp_service.store.server_lines import ServerLines


MAX_LOST_REPLIES = 10
"""Connections lost while the reply to a call was due, after which it is refused: it may be the reason."""

MAX_WRONG_SERVERS = 3
"""How often a call is answered by a server that may be the wrong one, before it is refused."""

MAX_CALL_TIMEOUTS = 5
"""How many timeouts of the client a call may take in all, whatever is lost."""

READ_BATCH_KEYS = 1000

ScriptCall = tuple[Sequence[str], Sequence[bytes]]
"""The keys and the arguments of one call of a script."""

T = TypeVar("T")

RedisLines = ServerLines | ClusterLines

Master = Address | None
"""One of the masters of a cluster; None where there is only one server."""


class ScriptClient:
    """Runs scripts on lines that it owns. Raises errors of redis-py and StoreUnavailable.

    A durable script is answered after a WAIT for `replicas` replicas and at most `wait_ms`
    milliseconds, which it shares with others. Each reply is checked by a token of its call, so that
    no caller reads the reply to another call.
    """

    def __init__(
        self,
        lines: RedisLines,
        *,
        replicas: int = 0,
        wait_ms: int = 100,
        draw_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.lines = lines
        self.replicas = replicas
        self.draw_bytes = draw_bytes
        self.failure_log = FailureLog()
        if isinstance(lines, ServerLines):
            lines.on_other_server = self._report_server
        self._wait: Command | None = ("WAIT", replicas, wait_ms) if replicas else None
        # The prefix differs between processes, for a proxy that mixes up their replies.
        self._tokens = (
            b"%b-%x" % (prefix, number)
            for prefix in [draw_bytes(4).hex().encode()]
            for number in itertools.count()
        )

    @property
    def is_cluster(self) -> bool:
        """Whether all keys of a script must be in one partition."""
        return isinstance(self.lines, ClusterLines)

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run a script by its digest, or by its source if Redis has lost it."""
        wait = self._wait if durable else None
        for command, text in (("EVALSHA", script.sha), ("EVAL", script.source)):
            request = self._build_request(command, text, keys, arguments)
            reply, *acknowledged = await self.lines.run(keys[0], (request,), wait)
            if not isinstance(reply, NoScriptError):
                break
        for each in (reply, *acknowledged):
            if isinstance(each, Exception):
                raise each
        if wait and acknowledged[0] < self.replicas:
            counts = f"{acknowledged[0]} of {self.replicas} replicas have a change in time"
            raise NotReplicated(reply, cause=counts)
        return reply

    async def run_scripts(self, script: LuaScript, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script for each of the calls. Raises the first error.

        This takes one round trip; in a cluster the calls run concurrently.
        """
        if isinstance(self.lines, ClusterLines):
            return await asyncio.gather(*(self.run_script(script, *call) for call in calls))
        requests = [self._build_request("EVALSHA", script.sha, *call) for call in calls]
        replies = await self.lines.run("", requests)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[i] = await self.run_script(script, *calls[i])
            elif isinstance(reply, Exception):
                raise reply
        return replies

    def _build_request(
        self, command: str, text: str, keys: Sequence[str], arguments: Sequence[bytes]
    ) -> Request:
        token = next(self._tokens)
        return Request((command, text, len(keys), *keys, *arguments, token), token)

    def _add_echo(self, commands: Sequence[Command]) -> list[Request]:
        """Return requests whose last reply shows that all replies are those of this call."""
        token = next(self._tokens)
        return [*map(Request, commands), Request(("ECHO", token), token)]

    async def run_pipeline(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key (or partition), in one round trip.

        Errors of Redis are among the replies.
        """
        replies = await self.lines.run(key, self._add_echo(commands))
        return replies[:-1]

    async def read_many(self, calls: Sequence[tuple[str, Sequence[Command]]]) -> list[list[Any]]:
        """Run commands that only read, each list of them about one key. Raises StoreUnavailable.

        This takes one round trip; in a cluster the lists run concurrently. Lost replies are read
        again.
        """
        if isinstance(self.lines, ClusterLines):
            return await asyncio.gather(*(self.repeat_commands(*call) for call in calls))
        joined = [command for _, commands in calls for command in commands]
        replies = iter(await self.repeat_commands("", joined))
        return [[next(replies) for _ in commands] for _, commands in calls]

    async def read_each(self, keys: Sequence[str], command: str, *arguments: str) -> list[Any]:
        """Return the reply to one command for each key. Raises StoreUnavailable.

        One round trip has at most READ_BATCH_KEYS of them.
        """
        replies: list[Any] = []
        for start in range(0, len(keys), READ_BATCH_KEYS):
            batch = keys[start : start + READ_BATCH_KEYS]
            calls = [(key, [(command, key, *arguments)]) for key in batch]
            replies += [reply for (reply,) in await self.read_many(calls)]
        return replies

    async def list_masters(self) -> list[Master]:
        """Return every server that has keys of its own."""
        if not isinstance(self.lines, ClusterLines):
            return [None]
        return list(await self.lines.list_masters())

    async def find_master(self, key: str) -> Master:
        if not isinstance(self.lines, ClusterLines):
            return None
        return await self.lines.find_master(key)

    async def run_pipeline_on(self, master: Master, commands: Sequence[Command]) -> list[Any]:
        if not isinstance(self.lines, ClusterLines):
            return await self.run_pipeline("", commands)
        assert master  # from `list_masters` or `find_master`
        return (await self.lines.run_on(master, self._add_echo(commands)))[:-1]

    async def probe_script(
        self, master: Master, script: LuaScript, key: str, argument: bytes
    ) -> list[tuple[str, Any]]:
        """Run a script by its source and by its digest; return both commands and their replies."""
        requests = [
            self._build_request(command, text, (key,), (argument,))
            for command, text in (("EVAL", script.source), ("EVALSHA", script.sha))
        ]
        if isinstance(self.lines, ClusterLines):
            assert master
            replies = await self.lines.run_on(master, requests)
        else:
            replies = await self.lines.run("", requests)
        return [("EVAL", replies[0]), ("EVALSHA", replies[1])]

    async def read_from(self, master: Master, *command: str | bytes | int) -> Any:
        """Return the reply of a master to a command that only reads. Raises StoreUnavailable."""

        async def read() -> Any:
            (reply,) = _raise_first_error(await self.run_pipeline_on(master, (command,)))
            return reply

        return await self.retry_lost_reply(read)

    async def retry_lost_reply(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the reply to a call that may be repeated. Raises StoreUnavailable.

        It is also repeated after the answer of a wrong server, whose name is resolved again. A lost
        connection alone refuses no call: a server is away only after an outage (`outage.py`), and a
        call is the reason only if its own reply was due, again and again.
        """
        lost_replies = wrong_servers = 0
        loop, timeout = asyncio.get_running_loop(), self.lines.timeout
        give_up_at = loop.time() + MAX_CALL_TIMEOUTS * timeout
        run = call
        while True:
            try:
                return await run()
            except (RedisError, OSError) as error:
                lost_replies += isinstance(error, CallInterrupted) and error.is_due
                wrong_servers += is_wrong_server(error)
                if (
                    not _can_be_repeated(error)
                    or lost_replies >= MAX_LOST_REPLIES
                    or wrong_servers >= MAX_WRONG_SERVERS
                    or loop.time() >= give_up_at
                ):
                    raise self.failure_log.report(error) from error
                run = partial(_run_until, give_up_at, call)
            except StoreUnavailable as error:
                if error.cause:
                    self.failure_log.log(f"a call failed: {error.cause}")
                raise

    async def repeat_commands(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key that may be repeated. Raises StoreUnavailable."""

        async def run() -> list[Any]:
            return _raise_first_error(await self.run_pipeline(key, commands))

        return await self.retry_lost_reply(run)

    def _report_server(self, info: Mapping[str, str]) -> None:
        """Log what is unsafe about a server that was not used before."""
        for setting, remedy in check_server(info):
            self.failure_log.log(f"the Redis in use is not safe: {setting} {remedy}")

    async def aclose(self) -> None:
        await self.lines.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _can_be_repeated(error: Exception) -> bool:
    if isinstance(error, ServerUnavailable):
        return False
    return isinstance(error, Disconnected | TimedOut | OSError) or is_wrong_server(error)


async def _run_until(deadline: float, call: Callable[[], Awaitable[T]]) -> T:
    """Return the reply to a call. Raises TimeoutError at the deadline, by the clock of the loop."""
    async with asyncio.timeout_at(deadline):
        return await call()


def _raise_first_error(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
