"""Commands out and answers in, on one connection of redis-py."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable


TRIES = 3
"""How often a call is made whose answer was lost; the client's timeout bounds each."""

Command = tuple[str | bytes | int, ...]
Answer = TypeVar("Answer")


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Return the answers to commands sent in one write; Redis's errors are among them.

    Raises ConnectionError and TimeoutError of redis-py: then it is not known what was run, and
    the connection is closed, so that nobody else reads the answers that were not waited for.
    """
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await _answer(connection) for _ in commands]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what a call answers that may be made again. Raises StoreUnavailable otherwise."""
    for left in reversed(range(TRIES)):
        try:
            return await call()
        except (Disconnected, TimedOut, OSError) as error:
            if not left:
                raise StoreUnavailable from error
        except RedisError as error:
            raise StoreUnavailable from error
    raise AssertionError("the last try returns or raises")
