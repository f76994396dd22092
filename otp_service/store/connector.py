"""Opens a line: finds the server, connects, logs in, and reads what INFO says about it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Sentinel
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.store.failure_log import find_error_code
from otp_service.store.line import Command, Line, Request
from otp_service.store.server_checks import INFO_COMMANDS, Address, parse_info


CLIENT_NAME = "otp-service"
"""The name that CLIENT LIST shows."""

T = TypeVar("T")


class Login(NamedTuple):
    """What is sent first on each connection."""

    username: str | None = None
    password: str | None = None
    database: int = 0

    def list_commands(self) -> list[Command]:
        commands: list[Command] = []
        if self.password is not None:
            user = (self.username,) if self.username else ()
            commands.append(("AUTH", *user, self.password))
        commands.append(("CLIENT", "SETNAME", CLIENT_NAME))
        if self.database:
            commands.append(("SELECT", self.database))
        return commands


class SentinelMaster:
    """The master that Sentinels name. Sentinels are asked at each connect.

    All of them are asked at once, and the first answer counts: one after another, each host that
    hangs would add its timeout to the time in which no call is answered.
    """

    def __init__(self, sentinels: Sequence[Sentinel], name: str) -> None:
        """Each of `sentinels` is redis-py's client of one Sentinel."""
        self.sentinels = sentinels
        self.name = name

    async def find_address(self) -> Address:
        """Raises MasterNotFoundError, a ConnectionError of redis-py."""
        host, port = await self._ask_all(lambda sentinel: sentinel.discover_master(self.name))
        return host, port

    async def list_never_promoted(self) -> set[Address]:
        """Return the replicas of priority 0; none if no Sentinel answers.

        Their flags do not count: one Sentinel may not reach a replica that another one promotes.
        """
        try:
            replicas = await self._ask_all(
                lambda sentinel: sentinel.sentinels[0].sentinel_slaves(self.name)
            )
        except (RedisError, OSError):
            return set()
        return {(r["ip"], r["port"]) for r in replicas if r["slave-priority"] == 0}

    async def aclose(self) -> None:
        for sentinel in self.sentinels:
            await sentinel.aclose()

    async def _ask_all(self, ask: Callable[[Sentinel], Awaitable[T]]) -> T:
        """Return the first answer. Raises the last error if no Sentinel answers."""
        answers = [asyncio.ensure_future(ask(sentinel)) for sentinel in self.sentinels]
        try:
            for answer in asyncio.as_completed(answers):
                try:
                    return await answer
                except (RedisError, OSError) as error:
                    last_error = error
            raise last_error
        finally:
            for answer in answers:
                answer.cancel()
            await asyncio.gather(*answers, return_exceptions=True)


class Connector:
    """Opens connections to one server: at an address, on a Unix socket, or the master of Sentinels.

    `timeout` bounds, in seconds, all of it: asking Sentinels, the connection with its TLS handshake,
    and the introduction.
    """

    def __init__(
        self,
        server: Address | str | SentinelMaster,
        *,
        login: Login,
        create_tls_context: Callable[[], ssl.SSLContext] | None,
        timeout: float,
    ) -> None:
        self.timeout = timeout
        self._server = server
        self._login = login
        self._create_tls_context = create_tls_context

    @property
    def sentinel(self) -> SentinelMaster | None:
        return self._server if isinstance(self._server, SentinelMaster) else None

    async def open(self, line: Line) -> dict[str, str]:
        """Connect and introduce a line. Return what INFO says; empty where it is not allowed.

        Raises ConnectionError, TimeoutError and AuthenticationError of redis-py.
        """
        try:
            async with asyncio.timeout(self.timeout):
                server = self._server
                if isinstance(server, SentinelMaster):
                    server = await server.find_address()
                await self._connect(line, server)
                info = await self._introduce(line)
        except TimeoutError as error:
            raise TimedOut("Redis has not answered in time") from error
        if self.sentinel and info.get("role", "master") != "master":
            raise ReadOnlyError("Sentinel has named a replica", status_code="READONLY")
        return info

    async def _connect(self, line: Line, server: Address | str) -> None:
        loop = asyncio.get_running_loop()
        name = server if isinstance(server, str) else f"{server[0]}:{server[1]}"
        try:
            if isinstance(server, str):
                await loop.create_unix_connection(lambda: line, server)
            else:
                tls = self._create_tls_context() if self._create_tls_context else None
                await loop.create_connection(lambda: line, *server, ssl=tls)
        except OSError as error:
            raise Disconnected(f"Error connecting to {name}. {error}") from error

    async def _introduce(self, line: Line) -> dict[str, str]:
        login = self._login.list_commands()
        replies = await line.introduce([Request(c) for c in (*login, *INFO_COMMANDS)])
        _raise_refused_login(login, replies)
        info = replies[len(login) :]
        if any(isinstance(reply, Exception) for reply in info):
            return {}
        return parse_info(b"".join(info))


def _raise_refused_login(commands: Sequence[Command], replies: Sequence[Any]) -> None:
    for command, reply in zip(commands, replies, strict=False):
        if isinstance(reply, Exception):
            if command[0] == "AUTH":
                code = find_error_code(reply)
                raise AuthenticationError(str(reply), status_code=code) from reply
            raise reply
