"""What INFO says about a server: whether it keeps what is written, and which replicas it has.

These functions are pure. `health.py` asks the servers, and `client.py` checks each server that a
line reaches for the first time.
"""

from collections.abc import Iterator, Mapping
from typing import Any


RedisIssue = tuple[str, str]
"""The setting with an issue, and the issue with its remedy."""

MIN_REDIS_VERSION = (7, 0)
"""Since 7.0 Redis refuses a script as a whole when memory is full (eval-intro, flags)."""

INFO_COMMANDS = tuple(
    ("INFO", section) for section in ("server", "memory", "persistence", "replication")
)


def parse_info(text: bytes) -> dict[str, str]:
    lines = text.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def check_server(info: Mapping[str, str]) -> Iterator[RedisIssue]:
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


def check_appendfsync(config: Any) -> Iterator[RedisIssue]:
    """Report an AOF that the kernel may write at any time, if CONFIG is allowed."""
    if not isinstance(config, Exception) and b"no" in config:
        yield "appendfsync", "of Redis is no: set it to everysec, or to always to lose nothing"


def check_memory(info: Mapping[str, str], log_bytes: int) -> Iterator[RedisIssue]:
    maxmemory = int(info["maxmemory"])
    if 0 < maxmemory < log_bytes:
        needs = f"lets the log grow to {log_bytes >> 20} MiB, and Redis has maxmemory {maxmemory >> 20} MiB"
        yield "events.maximum", f"{needs}: lower the one or raise the other, or calls will be 503"


def check_replicas(info: Mapping[str, str], required: int) -> Iterator[RedisIssue]:
    online = len(list_online_replicas(info))
    if online < required:
        yield (
            "redis.replicas",
            f"is {required}, and Redis has {online}: start replicas, or nothing will be answered",
        )


Address = tuple[str, int]
"""Host and port of a replica, as its master and Sentinel write them."""


def list_online_replicas(info: Mapping[str, str]) -> list[Address]:
    """Return the replicas that receive every write, from the INFO of the master.

    With address translation two of them may have the same address.
    """
    replicas = []
    for name, value in info.items():
        if name.startswith("slave") and "state=online" in value:
            fields = dict(field.split("=", 1) for field in value.split(","))
            replicas.append((fields["ip"], int(fields["port"])))
    return replicas


def check_promotable_replicas(promotable: int, online: int, required: int) -> Iterator[RedisIssue]:
    """Report that a replica may be promoted that has not acknowledged a change."""
    if not promotable or required >= online:
        return
    replicas = "1 replica" if online == 1 else f"{online} replicas"
    reason = ""
    if promotable < online:
        replicas, reason = f"{promotable} of {replicas}", "WAIT may count the others, so "
    remedy = f"may be promoted: {reason}set redis.replicas = {online}"
    yield "redis.replicas", f"is {required}, and {replicas} {remedy}"
