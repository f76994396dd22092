"""One way to run a script, on one Redis, behind Sentinel, or on a cluster.

No command is blindly repeated: a caller who repeats a script does so with the same operation id.
`replicas` makes WAIT follow on the same connection.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import NoScriptError

from otp_service.core.errors import StoreUnavailable
from otp_service.store.cluster import Cluster
from otp_service.store.pipeline import Command, exchange, insist


class Script:
    """A Lua script and the name that Redis knows it by."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


Client = Redis | Cluster

Master = ClusterNode | None
"""One of a cluster's masters; None where there is only one server."""


class Link:
    """Runs scripts on a client that it owns; `wait` is in milliseconds.

    Raises redis-py's errors, and StoreUnavailable where replicas or a whole cluster are away.
    """

    def __init__(self, client: Client, *, replicas: int = 0, wait: int = 100) -> None:
        self.client = client
        self.replicas = replicas
        self._wait: tuple[Command, ...] = (("WAIT", replicas, wait),) if replicas else ()

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run the script by its name, and by its text where Redis has lost it."""
        wait = self._wait if durable else ()
        for command, text in (("EVALSHA", script.sha), ("EVAL", script.source)):
            call: Command = (command, text, len(keys), *keys, *arguments)
            answer, *acknowledged = await self.together(keys[0], (call, *wait))
            if not isinstance(answer, NoScriptError):
                break
        for reply in (answer, *acknowledged):
            if isinstance(reply, Exception):
                raise reply
        if wait and acknowledged[0] < self.replicas:
            raise StoreUnavailable("Too few replicas have the change. Try again.")
        return answer

    async def run_all(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[bytes]]]
    ) -> list[Any]:
        """Run the script for each of these keys and arguments, wherever the keys are.

        In one round trip; in a cluster side by side. The first error is raised.
        """
        if isinstance(self.client, Cluster):
            return await asyncio.gather(*(self.run(script, *call) for call in calls))
        commands: list[Command] = [
            ("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls
        ]
        answers = await self.together("", commands)
        for i, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[i] = await self.run(script, *calls[i])
            elif isinstance(answer, Exception):
                raise answer
        return answers

    async def together(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key (or partition) on one connection, in one round trip.

        Redis's errors are among the answers.
        """
        if isinstance(self.client, Cluster):
            return await self.client.together(key, commands)
        return await self._exchange(commands)

    async def read(self, calls: Sequence[tuple[str, Sequence[Command]]]) -> list[list[Any]]:
        """Run commands that only read, about many keys: one round trip, in a cluster side by side.

        They are made again where an answer was lost. Raises StoreUnavailable.
        """
        if isinstance(self.client, Cluster):
            return await asyncio.gather(*(self._read(*call) for call in calls))
        together = [command for _, commands in calls for command in commands]
        answers = iter(await self._read("", together))
        return [[next(answers) for _ in commands] for _, commands in calls]

    async def masters(self) -> list[Master]:
        """Return every server that holds keys of its own."""
        if not isinstance(self.client, Cluster):
            return [None]
        await self.client.initialize()
        return list(self.client.get_primaries())

    async def master_of(self, key: str) -> Master:
        """Return the server that holds this key."""
        return await self.client.master_of(key) if isinstance(self.client, Cluster) else None

    async def on(self, master: Master, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one of `masters()`."""
        if isinstance(self.client, Cluster) and master:
            return await self.client.on_node(master, commands)
        return await self._exchange(commands)

    async def ask(self, master: Master, *command: str | bytes | int) -> Any:
        """Return what one command that only reads answers there. Raises StoreUnavailable."""
        (answer,) = await insist(lambda: self.on(master, (command,)))
        if isinstance(answer, Exception):
            raise StoreUnavailable from answer
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _read(self, key: str, commands: Sequence[Command]) -> list[Any]:
        answers = await insist(lambda: self.together(key, commands))
        for answer in answers:
            if isinstance(answer, Exception):
                raise StoreUnavailable from answer
        return answers

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        assert isinstance(self.client, Redis)  # the callers have looked
        pool = self.client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            return await exchange(connection, commands)
        finally:
            await pool.release(connection)
