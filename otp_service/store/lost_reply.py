"""Repeating a call whose reply was lost."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable


MAX_TRIES = 3
"""How often a call is made while its reply is lost; the timeout of the client bounds each try."""

T = TypeVar("T")


async def retry_lost_reply(call: Callable[[], Awaitable[T]]) -> T:
    """Return the reply to a call that may be repeated. Raises StoreUnavailable."""
    for tries_left in reversed(range(MAX_TRIES)):
        try:
            return await call()
        except (Disconnected, TimedOut, OSError) as error:
            if not tries_left:
                raise StoreUnavailable from error
        except RedisError as error:
            raise StoreUnavailable from error
    raise AssertionError("the last try returns or raises")
