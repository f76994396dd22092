"""The mode that a Redis belongs to: live data and those of tests are never in one Redis.

A service in test mode shows its codes and can delete what is stored. With the Redis of a live service it
would delete the limits that protect people. So the first service marks the Redis with its mode, and every
other mode is refused there. A running service marks it again (`app/redis_monitor.py`): Redis may have been
away at the start, or have lost its data since.
"""

from otp_service.core.errors import StoreUnavailable
from otp_service.schemas import Mode
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.server_checks import RedisIssue


MODE_KEY = KeyNames.mode_key()


async def find_mode_issues(client: ScriptClient, mode: Mode) -> list[RedisIssue]:
    """Return an issue if the Redis belongs to another mode. Raises StoreUnavailable."""
    stored = await read_mode(client)
    if stored in {None, mode}:
        return []
    remedy = (
        f"is the Redis of a service in mode '{stored}', and this one is '{mode}': use another one"
        + ("" if "live" in {stored, mode} else ", or empty it with FLUSHALL")
    )
    return [("redis.url", remedy)]


async def read_mode(client: ScriptClient) -> str | None:
    """Return the mode that the Redis belongs to; None if it is not marked."""
    (stored,) = await client.repeat_commands(MODE_KEY, [("GET", MODE_KEY)])
    return None if stored is None else str(stored, errors="replace")


async def claim_mode(client: ScriptClient, mode: Mode) -> list[RedisIssue]:
    """Mark an unmarked Redis with the mode, without an end; return as `find_mode_issues`.

    Of two services of different modes that start at the same time, one gets the issue. A mark is only
    read where it is there, because a full Redis refuses each write. Raises StoreUnavailable.
    """
    if await read_mode(client) is None:
        await client.repeat_commands(MODE_KEY, [("SET", MODE_KEY, mode, "NX")])
    return await find_mode_issues(client, mode)


async def require_mode(client: ScriptClient, mode: Mode) -> None:
    """Raise StoreUnavailable unless the Redis is marked with this mode."""
    stored = await read_mode(client)
    if stored != mode:
        raise StoreUnavailable(cause=f"the Redis is marked as {stored}, and not as {mode}")
