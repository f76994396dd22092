"""Checks what the ACL of Redis allows, by running every command that the service uses."""

from collections.abc import Mapping

import msgspec
from redis.exceptions import NoPermissionError

from otp_service.store.client import Master, ScriptClient
from otp_service.store.commit_request import read_lua
from otp_service.store.line import Command
from otp_service.store.lua_script import LuaScript
from otp_service.store.server_checks import RedisIssue


PROBE_SCRIPT = LuaScript(read_lua("probe"))

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
    "HINCRBY": ("f", 1),
    "HLEN": (),
    "SADD": ("m",),
    "ZADD": (1, "m"),
    "ZREM": ("m",),
    "ZRANGEBYSCORE": (0, 1),
    "PERSIST": (),
    "XADD": ("1-1", "f", "v"),
    "XLEN": (),
    "XRANGE": ("-", "+", "COUNT", 1),
    "XTRIM": ("MAXLEN", 1),
    "XDEL": ("1-1",),
    "DEL": (),
}
"""The commands that scripts run on a key, with harmless arguments."""

KEYLESS_COMMANDS: tuple[tuple[str, ...], ...] = (("TIME",), ("INFO", "replication"))


async def check_permissions(client: ScriptClient, master: Master, key: str) -> list[RedisIssue]:
    """Run every command on an unused key, and return an issue for each that the ACL refuses."""
    tried = await client.probe_script(master, PROBE_SCRIPT, key, _pack_script_commands(key))
    commands = _build_probe_commands(key, master=master, replicas=client.replicas)
    replies = await client.run_pipeline_on(master, commands)
    tried += zip((str(command[0]) for command in commands), replies, strict=True)
    issues = []
    for name, reply in tried:
        if isinstance(reply, NoPermissionError) and " key" in str(reply):
            return [("redis.username", "may not use our keys: allow it ~{[0-9][0-9]}:*")]
        if isinstance(reply, NoPermissionError):
            issues.append(describe_missing_permission(name))
        elif name == "EVAL" and isinstance(reply, list):
            issues += [describe_missing_permission(refused.decode()) for refused in reply]
    return issues


def _pack_script_commands(key: str) -> bytes:
    tried = [(name, key, *arguments) for name, arguments in SCRIPT_COMMANDS.items()]
    return msgspec.msgpack.encode([*tried, *KEYLESS_COMMANDS])


def _build_probe_commands(key: str, *, master: Master, replicas: int) -> list[Command]:
    """Return the commands that run outside of scripts."""
    commands: list[Command] = [
        ("ECHO", ""),
        ("XREVRANGE", key, "+", "-", "COUNT", 1),
        ("SCAN", 0, "COUNT", 1),
        ("DBSIZE",),
        ("SMEMBERS", key),
        ("HGETALL", key),
        ("SREM", key, "m"),
    ]
    if replicas:
        commands.append(("WAIT", 0, 1))
    if master:
        commands.append(("CLUSTER", "SLOTS"))
    return commands


def describe_missing_permission(command: str) -> RedisIssue:
    return "redis.username", f"may not run {command}: allow it +{command.lower()}"
