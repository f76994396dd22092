"""Whether a Redis is fit to hold limits and codes, and whether it is ready right now.

`faults` is asked by `check` and when the service starts. It needs no CONFIG, which the service's
user does not have; INFO tells almost everything.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import Key
from otp_service.store.client import LuaScript, Master, ScriptClient
from otp_service.store.commit_request import read_lua
from otp_service.store.key_names import KeyNames
from otp_service.store.redis_internals import Command, get_sentinel_pool


logger = logging.getLogger(__name__)

RedisIssue = tuple[str, str]
"""What is wrong, and what to do about it."""

MIN_REDIS_VERSION = (7, 0)
"""Scripts that are refused as a whole when memory is full are of Redis 7.0 (eval-intro, flags)."""

BYTES_PER_LOG_ENTRY = 1200
"""For each entry that a stream may have: 800 (Redis 7, measured), and half a refusal beside it."""

INFO_SECTIONS = ("server", "memory", "persistence", "replication")

PROBE_SCRIPT = LuaScript(read_lua("probe"))

READY_SCRIPT = LuaScript("#!lua\nreturn 1")
"""May write by its flags, so Redis refuses it when it is full, read-only, loading or unwell."""

SCRIPT_COMMANDS: Mapping[str, tuple[str | int, ...]] = {
    "SET": ("", "PX", 1000),
    "GET": (),
    "GETRANGE": (0, 0),
    "EXISTS": (),
    "PEXPIRE": (1000,),
    "HSET": ("f", "v"),
    "HGET": ("f",),
    "HMGET": ("f",),
    "HDEL": ("f",),
    "HEXISTS": ("f",),
    "HINCRBY": ("f", 1),
    "ZADD": (1, "m"),
    "ZREM": ("m",),
    "ZCOUNT": (0, 1),
    "ZRANGEBYSCORE": (0, 1),
    "ZREMRANGEBYSCORE": (0, 1),
    "PERSIST": (),
    "XADD": ("1-1", "f", "v"),
    "XLEN": (),
    "XRANGE": ("-", "+", "COUNT", 1),
    "XTRIM": ("MAXLEN", 1),
    "DEL": (),
}
"""What our scripts run on a key, with arguments that harm nothing."""

KEYLESS_COMMANDS: tuple[tuple[str, ...], ...] = (("TIME",), ("INFO", "replication"))
"""What they run besides."""

# Names makes these keys without its own.
_probe_key_names = KeyNames(Key("", b""))


async def is_ready(link: ScriptClient, *, timeout: float = 1.0) -> bool:  # noqa: ASYNC109  # its own
    """Whether every master takes writes now, with the replicas it needs; `timeout` in seconds."""
    try:
        async with asyncio.timeout(timeout):
            keys = (await _create_probe_keys(link)).values()
            await asyncio.gather(
                *(link.run_script(READY_SCRIPT, (key,), (), durable=True) for key in keys)
            )
            if (pool := get_sentinel_pool(link.redis_client)) is None:
                return True
            (answer,) = await link.run_pipeline_on(None, [("INFO", "replication")])
            if isinstance(answer, Exception):
                raise answer
            found = await _replica_faults(pool, _parse_info(answer), link.replicas)
    except (RedisError, StoreUnavailable, OSError, TimeoutError):
        return False
    for setting, remedy in found:
        logger.warning("not ready: %s %s", setting, remedy)
    return not found


async def find_issues(link: ScriptClient, *, max_stream_entries: int = 0) -> list[RedisIssue]:
    """Return what is wrong with Redis, each with its remedy; nothing if it is fit.

    `maximum` is the most entries of a partition's stream, to see whether they fit into memory.
    Raises StoreUnavailable if Redis does not answer, which may pass.
    """
    try:
        keys = await _create_probe_keys(link)
        log = max_stream_entries * BYTES_PER_LOG_ENTRY * PARTITION_COUNT // len(keys)
        found = [await _find_issues_on(link, master, key, log) for master, key in keys.items()]
    except (RedisError, StoreUnavailable, OSError) as error:
        if _is_login_error(error):
            return [("redis.username", "or redis.password is not accepted: see Redis's ACL LIST")]
        raise StoreUnavailable from error
    # A cluster's masters mostly share their faults; each is told once.
    return list(dict.fromkeys(fault for some in found for fault in some))


def _is_login_error(error: BaseException | None) -> bool:
    """Whether a refused login is behind it; redis-py wraps that as a lost connection."""
    while error and not isinstance(error, AuthenticationError):
        error = error.__cause__
    return error is not None


async def _create_probe_keys(link: ScriptClient) -> dict[Master, str]:
    """Return a key for each master that holds a partition; nobody else uses it."""
    names = [
        _probe_key_names.operation_key(p, f"check-{secrets.token_hex(8)}")
        for p in range(PARTITION_COUNT)
    ]
    return {await link.find_master(name): name for name in names}


async def _find_issues_on(
    link: ScriptClient, master: Master, key: str, log_bytes: int
) -> list[RedisIssue]:
    commands: list[Command] = [("INFO", section) for section in INFO_SECTIONS]
    *sections, config = await link.run_pipeline_on(
        master, [*commands, ("CONFIG", "GET", "appendfsync")]
    )
    refused = await _check_permissions(link, master, key)
    for answer in sections:
        if isinstance(answer, NoPermissionError):
            return refused or [_describe_missing_permission("INFO")]
        if isinstance(answer, Exception):
            raise answer
    info = _parse_info(b"".join(sections))
    found = [
        *_check_server(info),
        *_check_replicas(info, link.replicas),
        *_check_appendfsync(config),
    ]
    found += _check_memory(info, log_bytes)
    if (pool := get_sentinel_pool(link.redis_client)) is not None:
        found += await _replica_faults(pool, info, link.replicas)
    if master:
        found += _check_cluster(*await link.run_pipeline_on(master, [("CLUSTER", "INFO")]))
    return found + refused


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
    """Tell of an AOF that the kernel may write when it likes; CONFIG is mostly not ours to ask."""
    if not isinstance(config, Exception) and b"no" in config:
        yield "appendfsync", "of Redis is no: set it to everysec, or to always to lose nothing"


def _check_memory(info: Mapping[str, str], log_bytes: int) -> Iterator[RedisIssue]:
    room = int(info["maxmemory"])
    if 0 < room < log_bytes:
        needs = (
            f"lets the log grow to {log_bytes >> 20} MiB, and Redis has maxmemory {room >> 20} MiB"
        )
        yield "events.maximum", f"{needs}: lower the one or raise the other, or calls will be 503"


def _check_replicas(info: Mapping[str, str], required: int) -> Iterator[RedisIssue]:
    online = len(_online_replicas(info))
    if online < required:
        yield (
            "redis.replicas",
            f"is {required}, and Redis has {online}: start replicas, or nothing will be answered",
        )


Address = tuple[str, int]
"""Host and port of a replica, as its master and Sentinel write them."""


def _online_replicas(info: Mapping[str, str]) -> list[Address]:
    """Return the replicas that receive every write, from the master's INFO.

    Behind address translation two of them may have the same address.
    """
    found = []
    for name, value in info.items():
        if name.startswith("slave") and "state=online" in value:
            fields = dict(field.split("=", 1) for field in value.split(","))
            found.append((fields["ip"], int(fields["port"])))
    return found


async def _replica_faults(
    pool: SentinelConnectionPool, info: Mapping[str, str], wanted: int
) -> list[RedisIssue]:
    """Return a fault if Sentinel may promote a replica that has not acknowledged a change.

    WAIT says how many replicas have a change, and not which. So it has to wait for all of them,
    also for those that are never promoted, unless none ever is.
    """
    online = _online_replicas(info)
    if wanted >= len(online):
        return []
    never = await _never_promoted(pool)
    promotable = sum(address not in never for address in online)
    if not promotable:
        return []
    them = "1 replica" if len(online) == 1 else f"{len(online)} replicas"
    if promotable == len(online):
        remedy = f"is {wanted}, and {them} may be promoted: set redis.replicas = {len(online)}"
    else:
        remedy = (
            f"is {wanted}, and {promotable} of {them} may be promoted: WAIT may count the others, "
            f"so set redis.replicas = {len(online)}"
        )
    return [("redis.replicas", remedy)]


async def _never_promoted(pool: SentinelConnectionPool) -> set[Address]:
    """Return the replicas of priority 0; none if no Sentinel answers.

    Not by their flags: one Sentinel may not reach a replica that another one promotes.
    """
    for sentinel in pool.sentinel_manager.sentinels:
        try:
            replicas = await sentinel.sentinel_slaves(pool.service_name)
        except (RedisError, OSError):
            continue
        return {(one["ip"], one["port"]) for one in replicas if one["slave-priority"] == 0}
    return set()


def _check_cluster(answer: Any) -> Iterator[RedisIssue]:
    if isinstance(answer, NoPermissionError):
        yield _describe_missing_permission("CLUSTER|INFO")
    elif isinstance(answer, Exception) or _parse_info(answer)["cluster_state"] != "ok":
        yield "redis.cluster", "is not whole: 'redis-cli --cluster check' says what it lacks"


async def _check_permissions(link: ScriptClient, master: Master, key: str) -> list[RedisIssue]:
    """Try everything that the service runs, and tell what the ACL does not allow."""
    commands = _build_probe_commands(key, master=master, replicas=link.replicas)
    answers = await link.run_pipeline_on(master, commands)
    found = []
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, NoPermissionError) and " key" in str(answer):
            return [("redis.username", "may not use our keys: allow it ~{[0-9][0-9]}:*")]
        if isinstance(answer, NoPermissionError):
            found.append(_describe_missing_permission(str(command[0])))
        elif command[0] == "EVAL" and isinstance(answer, list):
            found += [_describe_missing_permission(name.decode()) for name in answer]
    return found


def _build_probe_commands(key: str, *, master: Master, replicas: int) -> list[Command]:
    """Return what is run outside of scripts, and the script that tries the others."""
    tried = [(name, key, *rest) for name, rest in SCRIPT_COMMANDS.items()]
    listed = msgspec.msgpack.encode([*tried, *KEYLESS_COMMANDS])
    commands: list[Command] = [
        ("EVAL", PROBE_SCRIPT.source, 1, key, listed),
        ("EVALSHA", PROBE_SCRIPT.sha, 1, key, listed),
        ("XREVRANGE", key, "+", "-", "COUNT", 1),
        ("SCAN", 0, "COUNT", 1),
        ("DBSIZE",),
    ]
    if replicas:
        commands.append(("WAIT", 0, 1))
    if master:
        commands.append(("CLUSTER", "SLOTS"))
    return commands


def _describe_missing_permission(command: str) -> RedisIssue:
    return "redis.username", f"may not run {command}: allow it +{command.lower()}"


def _parse_info(text: bytes) -> dict[str, str]:
    lines = text.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
