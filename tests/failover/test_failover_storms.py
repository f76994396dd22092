"""Failovers while 1,000 commands are in flight: each caller gets its own reply, and is charged once.

The callers repeat what is refused while there is no master, as a login back end does.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.failover.sentinel_lab import SentinelLab
from tests.failover.test_login_load import restart_server
from tests.store import redis_servers
from tests.store.storm import DURABLE_CALLS, Storm


pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

IN_FLIGHT, CANCELED = 1_000, 200

CONFIRMED_BEFORE = 300
"""Commits that are answered before the failover begins."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SentinelLab]:
    # A storm keeps a busy machine busier: a master that is only late must not be replaced.
    with redis_servers.start_sentinel_of(tmp_path, [100, 100], down_after_ms=3000) as servers:
        yield SentinelLab(*servers)


@pytest.mark.parametrize("fault", ["commanded", "killed", "frozen"])
async def test_a_failover_of_sentinel_charges_each_call_once(lab: SentinelLab, fault: str) -> None:
    """R79, R83, R84: what was answered is on the new master, once."""
    old = lab.master
    async with lab.connect() as client:
        storm = Storm(client, [old], callers=IN_FLIGHT, seed=1, is_patient=True)
        running = asyncio.create_task(storm.run(canceled=CANCELED, calls=DURABLE_CALLS))
        await storm.wait_for_confirmed(CONFIRMED_BEFORE)
        assert not running.done()
        await asyncio.to_thread(replace_master, lab, fault)
        await asyncio.to_thread(lab.follow_master, old)
        await running

    storm.masters = [lab.find_master()]
    assert storm.refused_count
    await storm.assert_books_balanced()


def replace_master(lab: SentinelLab, fault: str) -> None:
    old = lab.master
    if fault == "commanded":
        lab.command_failover()
    elif fault == "killed":
        redis_servers.kill_server(old)
        lab.wait_for_new_master()
        restart_server(old)
    else:
        with redis_servers.suspend_server(old):
            lab.wait_for_new_master()


@pytest.fixture
def cluster_pair(
    tmp_path: Path,
) -> Iterator[tuple[list[EmbeddedServer], EmbeddedServer]]:
    """Three masters, and a replica of the first."""
    with (
        redis_servers.start_cluster(tmp_path / "masters") as masters,
        redis_servers.start_cluster_replica(tmp_path / "replica", masters[0]) as replica,
    ):
        yield masters, replica


def find_partitions(master: EmbeddedServer) -> list[int]:
    with redis_servers.open_client(master) as client:
        return [p for p in range(64) if redis_servers.is_key_owner(client, f"{{{p:02d}}}")]


@pytest.mark.parametrize("fault", ["commanded", "killed"])
async def test_a_failover_of_a_cluster_charges_each_call_once(
    cluster_pair: tuple[list[EmbeddedServer], EmbeddedServer], fault: str
) -> None:
    """R79, R83, R84; a commanded one refuses no call to the other masters."""
    (failing, *others), replica = cluster_pair
    affected = find_partitions(failing)
    rest = [p for p in range(64) if p not in affected]
    nodes = redis_servers.build_connect_options([failing, *others])
    lines = create_redis_lines(**nodes, timeout_ms=2000)
    async with ScriptClient(lines, replicas=1, wait_ms=200) as client:
        masters = [failing, *others]
        storm = Storm(
            client, masters, callers=IN_FLIGHT // 2, seed=1, partitions=affected, is_patient=True
        )
        bystanders = Storm(
            client,
            masters,
            callers=IN_FLIGHT // 2,
            seed=2,
            partitions=rest,
            is_patient=fault == "killed",
        )
        running = asyncio.create_task(storm.run(canceled=CANCELED // 2, calls=DURABLE_CALLS))
        beside = asyncio.create_task(bystanders.run())
        await storm.wait_for_confirmed(CONFIRMED_BEFORE // 2)
        await asyncio.to_thread(replace_cluster_master, failing, replica, fault)
        await asyncio.gather(running, beside)

    for each in (storm, bystanders):
        each.masters = [replica, *others]
        await each.assert_books_balanced()


def replace_cluster_master(failing: EmbeddedServer, replica: EmbeddedServer, fault: str) -> None:
    with redis_servers.open_client(replica) as client:
        if fault == "commanded":
            client.execute_command("CLUSTER", "FAILOVER")
        else:
            redis_servers.kill_server(failing)
        redis_servers.wait_until(
            lambda: client.info("replication")["role"] == "master", description="the promotion"
        )
        # Durable commits wait for a replica.
        if fault == "killed":
            restart_server(failing)
