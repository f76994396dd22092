"""Fills Redis with live challenges, faster than the service can issue them.

It issues a few, and lets Redis copy what the store has written for them, under other names: the values,
the forms of the names and the partitions are those of the store. What is not of one number or challenge
is not copied: the event log, the operations of the last minutes, and the buckets that many share.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import redis


LIFE_MS = 2 * 3600 * 1000
"""Milliseconds until the copies expire: longer than a bench takes."""

SHORT_LIVED_KINDS = ("operation",)
"""The second part of names of keys that expire within minutes, whatever becomes of a challenge."""

MIN_COPIED_SHARE = 0.8
"""A kind with fewer keys than this share of the challenges is not of one challenge or number."""

MIN_LEFT_MS = 60_000
"""Milliseconds that a copied key has left. The cooldown of a number ends sooner: most live challenges
have none."""

COPIES_PER_CALL = 1000

COPY_SCRIPT = """
local key, first, last = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local start, own = string.match(key, '^(.*:)([^:]*)$')
for i = first, last do
    local name = ''
    while #name < #own do name = name .. redis.sha1hex(ARGV[1] .. i .. name) end
    redis.call('COPY', key, start .. string.sub(name, 1, #own))
end
"""
"""Copies of one key of a challenge have the same i as those of its other keys, but other names."""


def fill_challenges(url: str, templates: int, wanted: int) -> float:
    """Copy challenges until there are about `wanted`; return the bytes of Redis for each of them.

    `templates` is how many were issued, each for another number.
    """
    with cast(Any, redis.Redis.from_url(url)) as client:
        keys = list_challenge_keys(client, templates)
        for key in keys:
            client.pexpire(key, LIFE_MS)
        copies = (wanted - templates) // templates
        before = client.info("memory")["used_memory"]
        script = client.register_script(COPY_SCRIPT)
        for key in keys:
            for first in range(0, copies, COPIES_PER_CALL):
                last = min(copies, first + COPIES_PER_CALL) - 1
                script(keys=[key], args=[secrets.token_hex(8), first, last])
        used = client.info("memory")["used_memory"] - before
    return float(used / (copies * templates)) if copies > 0 else 0.0


def list_challenge_keys(client: Any, challenges: int) -> list[bytes]:
    """Return the keys that each of these challenges, or its number, has for itself."""
    kinds = group_keys(client.scan_iter(count=1000))
    return [
        key
        for kind, keys in kinds.items()
        if len(keys) >= MIN_COPIED_SHARE * challenges and kind[0] not in SHORT_LIVED_KINDS
        for key in keys
        if client.pttl(key) > MIN_LEFT_MS
    ]


def group_keys(keys: Iterable[bytes]) -> Mapping[tuple[str, ...], list[bytes]]:
    """Return the keys by what stands between their partition and their last part."""
    kinds: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
    for key, parts in _split_names(keys):
        kinds[tuple(parts[1:-1])].append(key)
    return kinds


def _split_names(keys: Iterable[bytes]) -> Iterator[tuple[bytes, list[str]]]:
    for key in keys:
        parts = key.decode().split(":")
        if len(parts) > 2:  # noqa: PLR2004  # a partition and a kind alone: one key of the partition
            yield key, parts
