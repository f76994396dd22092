"""R72: a record that was rolled back is an alarm, and one that a failover has lost is none."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.version_guard import MEMORY_MS, VersionGuard
from tests.store import redis_servers


KEY = "{07}:challenge:shop:a"
NOW = 1_795_348_800_000


class Pair(NamedTuple):
    """A master and its replica, each with a client and a raw connection."""

    master: EmbeddedServer
    replica: EmbeddedServer
    master_client: ScriptClient
    replica_client: ScriptClient


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    with (
        redis_servers.start_server(
            tmp_path / "old", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as master,
        redis_servers.start_replica(tmp_path / "new", master) as replica,
    ):
        async with (
            ScriptClient(create_redis_lines(url=master.url)) as one,
            ScriptClient(create_redis_lines(url=replica.url)) as other,
        ):
            yield Pair(master, replica, one, other)


async def write_version(client: ScriptClient, version: int, key: str = KEY) -> None:
    value = RecordCipher.format_version(version).encode() + b"record"
    await client.run_pipeline(key, [("SET", key, value)])


async def read_version(guard: VersionGuard, client: ScriptClient, at: int = NOW) -> int:
    """Read the version of a record as the store does."""
    floors = await guard.read_floors(client, [KEY])
    (record,) = await client.run_pipeline(KEY, [("GET", KEY)])
    version = int(record[:8])
    await guard.check_versions(client, [KEY], [version], floors, at)
    return version


async def test_a_lower_version_of_the_same_server_is_tampering(script_client: ScriptClient) -> None:
    """Also again and again, and for a while."""
    guard = VersionGuard()
    for version in (1, 5, 5, 7):
        await write_version(script_client, version)
        assert version == await read_version(guard, script_client)
    await write_version(script_client, 6)

    for at in (NOW, NOW + 1, NOW + MEMORY_MS):
        with pytest.raises(StoreTampered):
            await read_version(guard, script_client, at)
    await write_version(script_client, 7)
    assert 7 == await read_version(guard, script_client)


async def test_a_deleted_record_is_no_alarm(script_client: ScriptClient) -> None:
    """Records expire, and an attacker can delete; what comes back later is older."""
    guard = VersionGuard()
    await write_version(script_client, 5)
    await read_version(guard, script_client)
    floors = await guard.read_floors(script_client, [KEY])

    await guard.check_versions(script_client, [KEY], [None], floors, NOW)

    await write_version(script_client, 4)
    with pytest.raises(StoreTampered):
        await read_version(guard, script_client)


async def test_a_failover_that_lost_changes_is_no_alarm(pair: Pair) -> None:
    """K1: the new master has another replication id, so that its epoch declares the loss."""
    guard = VersionGuard()
    await write_version(pair.master_client, 3)
    await pair.master_client.run_pipeline("", [("WAIT", 1, 5000)])
    await pair.replica_client.run_pipeline("", [("REPLICAOF", "NO", "ONE")])
    await write_version(pair.master_client, 9)
    assert 9 == await read_version(guard, pair.master_client)

    assert 3 == await read_version(guard, pair.replica_client)

    await write_version(pair.replica_client, 4)
    assert 4 == await read_version(guard, pair.replica_client)
    await write_version(pair.replica_client, 3)
    with pytest.raises(StoreTampered):
        await read_version(guard, pair.replica_client)


async def test_calls_that_were_running_during_a_failover_raise_no_alarm(pair: Pair) -> None:
    """Their floors are those of the old server, and another call has found out first."""
    guard = VersionGuard()
    await pair.replica_client.run_pipeline("", [("REPLICAOF", "NO", "ONE")])
    await write_version(pair.master_client, 9)
    await read_version(guard, pair.master_client)
    floors = await guard.read_floors(pair.master_client, [KEY])
    await write_version(pair.replica_client, 2)
    await read_version(guard, pair.replica_client)

    await guard.check_versions(pair.replica_client, [KEY], [2], floors, NOW)


async def test_a_reply_of_the_old_server_after_a_failover_raises_no_alarm(pair: Pair) -> None:
    """What the old master wrote last, the new one may have lost: its version is not remembered."""
    guard = VersionGuard()
    await pair.replica_client.run_pipeline("", [("REPLICAOF", "NO", "ONE")])
    await write_version(pair.master_client, 8)
    await read_version(guard, pair.master_client)
    floors = await guard.read_floors(pair.master_client, [KEY])
    await write_version(pair.replica_client, 2)
    await read_version(guard, pair.replica_client)

    await guard.check_versions(pair.master_client, [KEY], [9], floors, NOW)
    guard.remember_version(KEY, 10, NOW, floors.era)

    assert 2 == await read_version(guard, pair.replica_client)


async def test_a_replica_that_lags_is_no_alarm(pair: Pair) -> None:
    """B1: a name that leads to a demoted master gives old data for a moment: 503, and no event."""
    guard = VersionGuard()
    await write_version(pair.master_client, 8)
    await pair.master_client.run_pipeline("", [("WAIT", 1, 5000)])
    no_port = redis_servers.find_free_port()
    await pair.replica_client.run_pipeline("", [("REPLICAOF", "127.0.0.1", no_port)])
    await write_version(pair.master_client, 9)
    await read_version(guard, pair.master_client)
    floors = await guard.read_floors(pair.master_client, [KEY])

    with pytest.raises(StoreUnavailable) as refusal:
        await guard.check_versions(pair.replica_client, [KEY], [8], floors, NOW)
    assert not isinstance(refusal.value, StoreTampered)
    with pytest.raises(StoreUnavailable) as refusal:
        await guard.check_versions(pair.master_client, [KEY], [8], floors, NOW)
    assert not isinstance(refusal.value, StoreTampered)


async def test_a_reply_that_was_overtaken_is_no_alarm(script_client: ScriptClient) -> None:
    """The floor is that of the time before the read."""
    guard = VersionGuard()
    await write_version(script_client, 5)
    floors = await guard.read_floors(script_client, [KEY])
    guard.remember_version(KEY, 6, NOW, 0)

    await guard.check_versions(script_client, [KEY], [5], floors, NOW)


async def test_the_memory_is_bounded(script_client: ScriptClient) -> None:
    """The oldest versions are forgotten first, and all of them after twenty minutes."""
    guard = VersionGuard(max_records=10)
    for i in range(100):
        guard.remember_version(f"{{07}}:{i}", 5, NOW, 0)
    known = [await guard.read_floors(script_client, [f"{{07}}:{i}"]) for i in range(100)]

    assert 10 < sum(floors.versions == (5,) for floors in known) <= 20
    assert (5,) == known[99].versions
    guard.remember_version(KEY, 1, NOW + MEMORY_MS, 0)
    guard.remember_version(KEY, 1, NOW + 2 * MEMORY_MS, 0)
    assert (0,) == (await guard.read_floors(script_client, ["{07}:99"])).versions
