"""Commands out and answers in, on one connection of redis-py."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable


MAX_TRIES = 3
"""How often a call is made whose answer was lost; the client's timeout bounds each."""

Command = tuple[str | bytes | int, ...]
T = TypeVar("T")


async def execute_pipeline(
    connection: AbstractConnection, commands: Sequence[Command]
) -> list[Any]:
    """Return the answers to commands sent in one write; Redis's errors are among them.

    All of it takes at most the connection's `socket_timeout`. Raises ConnectionError and
    TimeoutError of redis-py: then it is not known what was run. On these, and when the call is
    cancelled, the connection is closed, so that nobody else reads the answers that were not
    waited for (CVE-2023-28858).
    """
    # hiredis packs in C what redis-py packs in Python.
    packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
    try:
        # One timeout around it all: redis-py's own are a task for each write and a timer for each
        # answer, which take longer than the exchange itself.
        async with asyncio.timeout(connection.socket_timeout):
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection._send_packed_command(packed)  # noqa: SLF001  # send_ has the task
            return [await _read_reply(connection) for _ in commands]
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, TimeoutError):
            raise TimedOut("Redis has not answered in time") from error
        if isinstance(error, OSError):
            raise Disconnected("the connection to Redis was lost") from error
        raise


async def _read_reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


async def retry_lost_reply(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call answers that may be made again. Raises StoreUnavailable otherwise."""
    for left in reversed(range(MAX_TRIES)):
        try:
            return await call()
        except (Disconnected, TimedOut, OSError) as error:
            if not left:
                raise StoreUnavailable from error
        except RedisError as error:
            raise StoreUnavailable from error
    raise AssertionError("the last try returns or raises")
