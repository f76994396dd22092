"""Finding keys by SCAN on all masters, which loads Redis little and takes long."""

from collections.abc import AsyncIterator

from otp_service.core.ports import ProgressCallback
from otp_service.store.client import Master, ScriptClient


SCAN_BATCH_KEYS = 1000
"""Keys that one SCAN reads, which blocks other commands for well under a millisecond."""


def ignore_progress(done: int, total: int) -> None:
    """Do nothing: the default of scans that take no callback."""


async def find_keys(
    client: ScriptClient,
    pattern: str,
    progress: ProgressCallback = ignore_progress,
    *,
    only_master_of: str = "",
) -> list[str]:
    """Return the keys that match a pattern, on the master of a key or on all masters, sorted.

    Raises StoreUnavailable.
    """
    found: set[str] = set()  # SCAN may return a key twice
    async for names in iterate_keys(client, pattern, progress, only_master_of=only_master_of):
        found.update(names)
    return sorted(found)


async def iterate_keys(
    client: ScriptClient,
    pattern: str,
    progress: ProgressCallback = ignore_progress,
    *,
    only_master_of: str = "",
) -> AsyncIterator[list[str]]:
    """Yield what `find_keys` returns in parts, for patterns of which there may be millions.

    A key may be yielded twice. Raises StoreUnavailable.
    """
    key = only_master_of
    masters = [await client.find_master(key)] if key else await client.list_masters()
    done, total = 0, sum([await client.read_from(master, "DBSIZE") for master in masters])
    for master in masters:
        async for names in _scan_keys(client, master, pattern):
            yield names
            done += SCAN_BATCH_KEYS
            progress(min(done, total), total)


async def _scan_keys(
    client: ScriptClient, master: Master, pattern: str
) -> AsyncIterator[list[str]]:
    cursor = b"0"
    while True:
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_BATCH_KEYS)
        cursor, names = await client.read_from(master, *command)
        yield [name.decode() for name in names]
        if cursor == b"0":
            return
