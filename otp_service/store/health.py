"""Checks whether a Redis is suitable for limits and codes, and whether it is ready.

`otp-service check` and the start of the service call `find_issues`. It works without CONFIG, which
the user of the service may not run: INFO reports almost everything.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.store.client import LuaScript, Master, ScriptClient
from otp_service.store.failure_log import describe_error
from otp_service.store.key_names import KeyNames
from otp_service.store.permissions import RedisIssue, check_permissions, describe_missing_permission
from otp_service.store.redis_internals import Command, get_sentinel_pool


logger = logging.getLogger(__name__)

MIN_REDIS_VERSION = (7, 0)
"""Since 7.0 Redis refuses a script as a whole when memory is full (eval-intro, flags)."""

BYTES_PER_LOG_ENTRY = 1200
"""For each event that a stream may have: 800 (Redis 7, measured), and half a refusal."""

INFO_SECTIONS = ("server", "memory", "persistence", "replication")

READY_SCRIPT = LuaScript("#!lua\nreturn 1")
"""Its flags allow writes, so Redis refuses it while it is full, read-only or loading."""

# The names of these keys contain no HMAC.
_probe_key_names = KeyNames(Key("", b""))


async def is_ready(client: ScriptClient, *, timeout: float = 1.0) -> bool:  # noqa: ASYNC109  # its own
    """Return whether every master accepts writes, with its replicas, within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            keys = (await _create_probe_keys(client)).values()
            runs = [client.run_script(READY_SCRIPT, (key,), (), durable=True) for key in keys]
            await asyncio.gather(*runs)
            if (pool := get_sentinel_pool(client.redis_client)) is None:
                return True
            (reply,) = await client.run_pipeline_on(None, [("INFO", "replication")])
            if isinstance(reply, Exception):
                raise reply
            issues = await _check_sentinel_replicas(pool, _parse_info(reply), client.replicas)
    except (RedisError, StoreUnavailable, OSError, TimeoutError):
        return False
    for setting, remedy in issues:
        logger.warning("not ready: %s %s", setting, remedy)
    return not issues


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
            return [("redis.username", "or redis.password is not accepted: see Redis's ACL LIST")]
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
        _probe_key_names.operation_key(partition, f"check-{secrets.token_hex(8)}")
        for partition in range(PARTITION_COUNT)
    ]
    return {await client.find_master(key): key for key in keys}


async def _find_issues_on(
    client: ScriptClient, master: Master, key: str, log_bytes: int
) -> list[RedisIssue]:
    commands: list[Command] = [("INFO", section) for section in INFO_SECTIONS]
    commands.append(("CONFIG", "GET", "appendfsync"))
    *sections, config = await client.run_pipeline_on(master, commands)
    refused = await check_permissions(client, master, key)
    for reply in sections:
        if isinstance(reply, NoPermissionError):
            return refused or [describe_missing_permission("INFO")]
        if isinstance(reply, Exception):
            raise reply
    info = _parse_info(b"".join(sections))
    issues = [
        *_check_server(info),
        *_check_replicas(info, client.replicas),
        *_check_appendfsync(config),
        *_check_memory(info, log_bytes),
    ]
    if (pool := get_sentinel_pool(client.redis_client)) is not None:
        issues += await _check_sentinel_replicas(pool, info, client.replicas)
    if master:
        issues += _check_cluster(*await client.run_pipeline_on(master, [("CLUSTER", "INFO")]))
    return issues + refused


def _check_server(info: Mapping[str, str]) -> Iterator[RedisIssue]:
    version = info["redis_version"]
    if tuple(map(int, version.split(".")[:2])) < MIN_REDIS_VERSION:
        yield "redis", f"is of version {version}: use Redis 7.0 or newer, or Valkey"
    if info["role"] != "master":
        yield "redis", "is a replica, which takes no writes: name the master, or use redis.sentinel"
    if (policy := info["maxmemory_policy"]) != "noeviction":
        yield (
            "maxmemory-policy",
            f"of Redis is {policy}: set it to noeviction, or full memory makes it forget attempts",
        )
    if info["aof_enabled"] != "1":
        yield (
            "appendonly",
            "of Redis is off: turn it on, or a restart gives every attempt and every budget back",
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        yield (
            "appendonly",
            "of Redis cannot write its file: see its log, and whether its disk is full",
        )


def _check_appendfsync(config: Any) -> Iterator[RedisIssue]:
    """Report an AOF that the kernel may write at any time, if CONFIG is allowed."""
    if not isinstance(config, Exception) and b"no" in config:
        yield "appendfsync", "of Redis is no: set it to everysec, or to always to lose nothing"


def _check_memory(info: Mapping[str, str], log_bytes: int) -> Iterator[RedisIssue]:
    maxmemory = int(info["maxmemory"])
    if 0 < maxmemory < log_bytes:
        needs = f"lets the log grow to {log_bytes >> 20} MiB, and Redis has maxmemory {maxmemory >> 20} MiB"
        yield "events.maximum", f"{needs}: lower the one or raise the other, or calls will be 503"


def _check_replicas(info: Mapping[str, str], required: int) -> Iterator[RedisIssue]:
    online = len(_list_online_replicas(info))
    if online < required:
        yield (
            "redis.replicas",
            f"is {required}, and Redis has {online}: start replicas, or nothing will be answered",
        )


Address = tuple[str, int]
"""Host and port of a replica, as its master and Sentinel write them."""


def _list_online_replicas(info: Mapping[str, str]) -> list[Address]:
    """Return the replicas that receive every write, from the INFO of the master.

    With address translation two of them may have the same address.
    """
    replicas = []
    for name, value in info.items():
        if name.startswith("slave") and "state=online" in value:
            fields = dict(field.split("=", 1) for field in value.split(","))
            replicas.append((fields["ip"], int(fields["port"])))
    return replicas


async def _check_sentinel_replicas(
    pool: SentinelConnectionPool, info: Mapping[str, str], required: int
) -> list[RedisIssue]:
    """Return an issue if Sentinel may promote a replica that has not acknowledged a change.

    WAIT reports how many replicas have a change, not which. So it must wait for all of them, also
    for those that are never promoted, unless none ever is.
    """
    online = _list_online_replicas(info)
    if required >= len(online):
        return []
    never_promoted = await _list_never_promoted(pool)
    promotable = sum(address not in never_promoted for address in online)
    if not promotable:
        return []
    replicas = "1 replica" if len(online) == 1 else f"{len(online)} replicas"
    reason = ""
    if promotable < len(online):
        replicas, reason = f"{promotable} of {replicas}", "WAIT may count the others, so "
    remedy = f"may be promoted: {reason}set redis.replicas = {len(online)}"
    return [("redis.replicas", f"is {required}, and {replicas} {remedy}")]


async def _list_never_promoted(pool: SentinelConnectionPool) -> set[Address]:
    """Return the replicas of priority 0; none if no Sentinel answers.

    Their flags do not count: one Sentinel may not reach a replica that another one promotes.
    """
    for sentinel in pool.sentinel_manager.sentinels:
        try:
            replicas = await sentinel.sentinel_slaves(pool.service_name)
        except (RedisError, OSError):
            continue
        return {(r["ip"], r["port"]) for r in replicas if r["slave-priority"] == 0}
    return set()


def _check_cluster(reply: Any) -> Iterator[RedisIssue]:
    if isinstance(reply, NoPermissionError):
        yield describe_missing_permission("CLUSTER|INFO")
    elif isinstance(reply, Exception) or _parse_info(reply)["cluster_state"] != "ok":
        yield "redis.cluster", "is not whole: 'redis-cli --cluster check' says what it lacks"


def _parse_info(text: bytes) -> dict[str, str]:
    lines = text.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
