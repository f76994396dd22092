"""Checks whether a Redis is suitable for limits and codes, and whether it is ready.

`otp-service check` and the start of the service call `find_issues`. It works without CONFIG, which
the user of the service may not run: INFO reports almost everything.
"""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.store.client import Master, ScriptClient
from otp_service.store.cluster_lines import ClusterLines
from otp_service.store.failure_log import describe_error
from otp_service.store.key_names import KeyNames
from otp_service.store.lua_script import LuaScript
from otp_service.store.permissions import check_permissions, describe_missing_permission
from otp_service.store.server_checks import (
    INFO_COMMANDS,
    RedisIssue,
    check_appendfsync,
    check_memory,
    check_promotable_replicas,
    check_replicas,
    check_server,
    list_online_replicas,
    parse_info,
)


BYTES_PER_LOG_ENTRY = 1200
"""For each event that a stream may have: 800 (Redis 7, measured), and half a refusal."""


LOGIN_REMEDY = "is wrong or missing, or redis.username is: compare both with the users that ACL LIST of Redis shows"

READY_SCRIPT = LuaScript("#!lua\nreturn 1")
"""Its flags allow writes, so Redis refuses it while it is full, read-only or loading."""

# The names of these keys contain no HMAC.
_probe_key_names = KeyNames(Key("", b""))


async def is_ready(client: ScriptClient, *, timeout: float = 1.0) -> bool:  # noqa: ASYNC109  # its own
    """Return whether every master is safe to use and accepts writes within `timeout` seconds.

    The reason is logged if it is not.
    """
    try:
        async with asyncio.timeout(timeout):
            issues = await find_unsafe_settings(client)
            for setting, remedy in issues:
                client.failure_log.log(f"not ready: {setting} {remedy}")
            # Also where there are issues: a replica refuses it, which leaves its connections.
            await _run_ready_script(client)
    except (RedisError, StoreUnavailable, OSError, TimeoutError) as error:
        client.failure_log.log(f"not ready: {describe_error(error)}")
        return False
    return not issues


async def _run_ready_script(client: ScriptClient) -> None:
    keys = (await _create_probe_keys(client)).values()
    runs = [client.run_script(READY_SCRIPT, (key,), (), durable=True) for key in keys]
    await asyncio.gather(*runs)


async def find_unsafe_settings(client: ScriptClient) -> list[RedisIssue]:
    """Return what makes a master forget what it stored, from INFO alone.

    A Redis that starts later or takes over may differ from the one that `find_issues` checked.
    Raises errors of redis-py and StoreUnavailable.
    """
    masters = await client.list_masters()
    issues = await asyncio.gather(*(_find_unsafe_settings_on(client, m) for m in masters))
    return list(dict.fromkeys(chain.from_iterable(issues)))


async def _find_unsafe_settings_on(client: ScriptClient, master: Master) -> list[RedisIssue]:
    info = await _read_info(client, master)
    return [*check_server(info), *await _check_replica_count(client, info)]


async def _read_info(client: ScriptClient, master: Master) -> dict[str, str]:
    """Return the sections of INFO that are checked. Raises NoPermissionError."""
    replies = await client.run_pipeline_on(master, INFO_COMMANDS)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return parse_info(b"".join(replies))


async def find_issues(client: ScriptClient, *, max_stream_entries: int = 0) -> list[RedisIssue]:
    """Return the issues of Redis; none if it is suitable.

    `max_stream_entries` is the limit of one stream of a partition, which must fit into memory.
    Raises StoreUnavailable if Redis does not reply.
    """
    try:
        keys = await _create_probe_keys(client)
        log = max_stream_entries * BYTES_PER_LOG_ENTRY * PARTITION_COUNT // len(keys)
        issues = [await _find_issues_on(client, master, key, log) for master, key in keys.items()]
    except (RedisError, OSError) as error:
        if _is_login_error(error):
            return [("redis.password", LOGIN_REMEDY)]
        raise StoreUnavailable(cause=describe_error(error)) from error
    # The masters of a cluster mostly have the same issues; report each once.
    return list(dict.fromkeys(chain.from_iterable(issues)))


def _is_login_error(error: BaseException | None) -> bool:
    """Return whether a refused login is the cause; redis-py wraps it as a lost connection."""
    while error and not isinstance(error, AuthenticationError):
        error = error.__cause__
    return error is not None


async def _create_probe_keys(client: ScriptClient) -> dict[Master, str]:
    """Return for each master with a partition a key that nothing else uses."""
    keys = [
        _probe_key_names.operation_key(partition, f"check-{client.draw_bytes(8).hex()}")
        for partition in range(PARTITION_COUNT)
    ]
    return {await client.find_master(key): key for key in keys}


async def _find_issues_on(
    client: ScriptClient, master: Master, key: str, log_bytes: int
) -> list[RedisIssue]:
    refused = await check_permissions(client, master, key)
    try:
        info = await _read_info(client, master)
    except NoPermissionError:
        return refused or [describe_missing_permission("INFO")]
    (config,) = await client.run_pipeline_on(master, [("CONFIG", "GET", "appendfsync")])
    issues = [
        *check_server(info),
        *await _check_replica_count(client, info),
        *check_appendfsync(config),
        *check_memory(info, log_bytes),
    ]
    if master:
        issues += _check_cluster(*await client.run_pipeline_on(master, [("CLUSTER", "INFO")]))
    return issues + refused


async def _check_replica_count(client: ScriptClient, info: Mapping[str, str]) -> list[RedisIssue]:
    """Return an issue if WAIT counts too few replicas, or more than the master has.

    WAIT reports how many replicas have a change, not which. So where Sentinel or the cluster may
    promote one of them, it must wait for all, also for those that are never promoted.
    """
    issues = [*check_replicas(info, client.replicas)]
    online, required = list_online_replicas(info), client.replicas
    if not online or required >= len(online):
        return issues
    sentinel = client.lines.sentinel
    if sentinel is None and not isinstance(client.lines, ClusterLines):
        return issues  # the operator promotes one, or a service that cannot be asked
    never_promoted = await sentinel.list_never_promoted() if sentinel else set()
    promotable = sum(address not in never_promoted for address in online)
    return [*issues, *check_promotable_replicas(promotable, len(online), required)]


def _check_cluster(reply: Any) -> Iterator[RedisIssue]:
    if isinstance(reply, NoPermissionError):
        yield describe_missing_permission("CLUSTER|INFO")
    elif isinstance(reply, Exception) or parse_info(reply)["cluster_state"] != "ok":
        yield "redis.cluster", "is not whole: 'redis-cli --cluster check' says what it lacks"
