"""Several commits in one call: each applies once, and none if one is refused."""

import os
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import Commit, Committed, Refund, Undone
from otp_service.core.events import Attempted, EpochStarted, IssueDenied
from otp_service.core.limits import Bucket, Charge, Limit, LimitRefusal, Window
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from tests.installation import generate_keys
from tests.store import redis_servers
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy


ONCE = (Window(1, 3600),)
EPOCH_ID = "the-event-of-an-epoch"


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    redis_servers.flush_server(server)
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultyProxy) -> AsyncIterator[RedisStore]:
    keys = generate_keys()
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as client:
        yield RedisStore(
            client,
            KeyNames(keys.limit.current),
            RecordCipher(keys, os.urandom),
            epoch_event=EpochStarted(id=EPOCH_ID),
        )


def build_commit(partition: int, *, count: int = 10, **fields: Any) -> Commit:
    """Return a commit that charges the bucket of its partition, which admits `count`."""
    bucket = Bucket(Limit.SENDS_NUMBER, "shop", f"subject {partition}")
    charge = Charge(bucket, (Window(count, 3600),))
    operation_id = secrets.token_hex(16)
    return Commit(partition=partition, operation_id=operation_id, charges=(charge,), **fields)


async def count_charges(store: RedisStore, commit: Commit) -> int:
    key = store.key_names.bucket_key(commit.partition, commit.charges[0].bucket)
    (stored,) = await store.client.run_pipeline(key, [("GET", key)])
    return len(msgspec.msgpack.decode(stored)) // 2 if stored else 0


async def list_event_ids(store: RedisStore, partition: int) -> list[str]:
    _, events, *_ = store.key_names.event_log_keys(partition)
    (entries,) = await store.client.run_pipeline(events, [("XRANGE", events, "-", "+")])
    return [msgspec.json.decode(fields[1])["id"] for _, fields in entries]


async def test_commits_of_three_partitions_are_one_script(
    store: RedisStore, proxy: FaultyProxy
) -> None:
    commits = [build_commit(partition) for partition in (7, 8, 9)]
    await store.commit(build_commit(10))
    proxy.batches.clear()

    outcomes = await store.commit_together(commits)

    assert [Committed] * 3 == list(map(type, outcomes))
    assert [1] * 3 == [await count_charges(store, commit) for commit in commits]
    assert b"EVALSHA" == proxy.batches[0].commands[0][0]
    assert 1 == sum(len(batch.commands) for batch in proxy.batches if batch.is_script)


@pytest.mark.parametrize("is_cluster", [False, True])
async def test_nothing_is_applied_if_one_is_refused(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, *, is_cluster: bool
) -> None:
    """In a cluster, what was applied before it stays, for the caller to refund."""
    monkeypatch.setattr(ScriptClient, "is_cluster", is_cluster)
    await store.commit(build_commit(8, count=1))
    denied = IssueDenied(id="denied")
    commits = [build_commit(7), build_commit(8, count=1, event_if_refused=denied), build_commit(9)]

    outcomes = await store.commit_together(commits)

    first = Committed if is_cluster else Undone
    assert [first, LimitRefusal, Undone] == list(map(type, outcomes))
    assert [is_cluster, 1, 0] == [await count_charges(store, commit) for commit in commits]


async def test_all_commits_run_if_none_depends_on_another(store: RedisStore) -> None:
    await store.commit(build_commit(7, count=1))
    commits = [build_commit(7, count=1), build_commit(8)]

    outcomes = await store.commit_all(commits)

    assert [LimitRefusal, Committed] == list(map(type, outcomes))
    assert [1, 1] == [await count_charges(store, commit) for commit in commits]


@pytest.mark.parametrize("failure", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
async def test_a_lost_reply_applies_each_commit_once(
    store: RedisStore, proxy: FaultyProxy, failure: ConnectionFailure
) -> None:
    await store.commit(build_commit(10))
    commits = [build_commit(7), build_commit(8), build_commit(9)]
    proxy.fail_next(failure, b"subject"[:0], times=2)

    outcomes = await store.commit_together(commits)

    assert [Committed] * 3 == list(map(type, outcomes))
    assert [1] * 3 == [await count_charges(store, commit) for commit in commits]


async def test_a_refunded_first_commit_ends_the_call(store: RedisStore) -> None:
    """A refund that has arrived before its charge: nothing that depends on the charge is applied."""
    commits = [build_commit(7), build_commit(8)]
    refund = Refund(commits[0].charges[0], commits[0].operation_id)
    await store.commit(Commit(partition=7, operation_id="undo", refunds=(refund,)))

    with pytest.raises(Exception, match="not available"):
        await store.commit_together(commits)

    assert [0, 0] == [await count_charges(store, commit) for commit in commits]


async def test_the_event_of_an_epoch_is_sent_when_the_log_needs_it(
    store: RedisStore, proxy: FaultyProxy
) -> None:
    """A new epoch costs a second call; the commit before it in the call is applied once."""
    first, second = build_commit(7), build_commit(8, events=(Attempted(id="a"),))

    await store.commit_together([first, second])

    assert [1, 1] == [await count_charges(store, commit) for commit in (first, second)]
    assert [EPOCH_ID, "a"] == await list_event_ids(store, 8)
    assert 2 == count_epoch_free_calls(proxy) + count_epoch_calls(proxy)

    proxy.batches.clear()
    await store.commit(build_commit(8, events=(Attempted(id="b"),)))
    assert [EPOCH_ID, "a", "b"] == await list_event_ids(store, 8)
    assert (1, 0) == (count_epoch_free_calls(proxy), count_epoch_calls(proxy))


def count_epoch_calls(proxy: FaultyProxy) -> int:
    """Return the calls of the commit script that have the event of an epoch."""
    calls = [call for batch in proxy.batches for call in batch.commands if call[0] == b"EVALSHA"]
    return sum(EPOCH_ID.encode() in b"".join(call) for call in calls)


def count_epoch_free_calls(proxy: FaultyProxy) -> int:
    calls = [call for batch in proxy.batches for call in batch.commands if call[0] == b"EVALSHA"]
    return len(calls) - count_epoch_calls(proxy)
