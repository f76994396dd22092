"""Each guard of a commit: without it one of these tests fails."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import ChallengeSnapshot, Commit, RecordName, RecordSwap
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeExpired,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.events import Attempted
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import DEFAULT_LIMITS, Bucket, Charge, Limit
from otp_service.core.phone_number import parse_number
from otp_service.service.optimistic_commit import commit_once, commit_with_retry
from otp_service.store.client import ScriptClient
from otp_service.store.lua_script import LuaScript
from tests.installation import (
    ACCEPTED_REPLY,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    gather_results,
    make_wrong_code,
)


PHONE = parse_number("+447400123456")


class LosesItsReplicas(ScriptClient):
    """A client whose replicas acknowledge the first durable scripts, and then no more."""

    def __init__(self, client: ScriptClient, acknowledged: int) -> None:
        super().__init__(client.lines, replicas=1, wait_ms=1)
        self.acknowledged = acknowledged

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run it, and wait for the replica that does not exist once none acknowledges."""
        self.acknowledged -= durable
        durable = durable and self.acknowledged < 0
        return await super().run_script(script, keys, arguments, durable=durable)


def lose_replicas(installation: Installation, acknowledged: int = 0) -> LosesItsReplicas:
    """Let the replicas acknowledge that many durable commits from here on."""
    client = LosesItsReplicas(installation.script_client, acknowledged)
    installation.store.client = client
    installation.dependencies.number_registry._client = client  # type: ignore[attr-defined]
    return client


NumberCall = Callable[[Installation], Awaitable[Any]]

NUMBER_CALLS: dict[str, NumberCall] = {
    "unlock": lambda i: i.service.numbers.unlock_number(i.build_caller(), PHONE),
    "block": lambda i: i.service.numbers.block_number(i.build_caller(), PHONE),
    "unblock": lambda i: i.service.numbers.unblock_number(i.build_caller(), PHONE),
    "forget": lambda i: i.service.numbers.forget_number(i.build_caller(), PHONE, lambda *_: None),
}


@pytest.mark.parametrize("call", NUMBER_CALLS, ids=str)
async def test_an_operators_change_is_reported_only_once_replicas_have_it(
    installation: Installation, call: str
) -> None:
    """R79: a failover must not undo an unlock or a block that was reported as done."""
    lose_replicas(installation)

    with pytest.raises(StoreUnavailable):
        await NUMBER_CALLS[call](installation)


async def test_a_refusal_needs_no_replica(installation: Installation) -> None:
    """R79: nothing was granted, so the caller learns the reason and how long to wait."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    await use_up_failures(installation)
    lose_replicas(installation)

    with pytest.raises(RateLimited):
        await installation.verify(issued, code)


async def test_a_repeated_success_is_reported_only_once_replicas_have_it(
    installation: Installation,
) -> None:
    """R79, R54: the first response was 503, because the replicas lacked the success."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    lose_replicas(installation, 1)
    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, key="k")

    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, key="k")

    lose_replicas(installation, 1)
    await installation.verify(issued, code, key="k")
    assert 2 == installation.hasher.hash_count


async def test_a_resend_whose_deadline_passes_during_the_hash_is_refused(
    installation: Installation,
) -> None:
    """R3: the deadline is checked in the step that stores the code; its charges are refunded."""
    issued = await installation.issue()
    installation.advance_clock(31 * SECOND_MS)
    fetch = installation.store.fetch_challenge
    fetched = []

    async def fetch_in_time(tenant: str, challenge_id: str) -> Any:
        fetched.append(await fetch(tenant, challenge_id))
        if len(fetched) == 2:
            installation.advance_clock(300 * SECOND_MS)
        return fetched[-1]

    installation.store.fetch_challenge = fetch_in_time  # type: ignore[method-assign]

    with pytest.raises(ChallengeExpired):
        await installation.resend(issued)

    assert 1 == len(installation.router.messages)
    assert 0 == (await installation.list_event_types()).count("otp.resent")


async def test_a_right_code_is_compared_ten_seconds_after_the_deadline(
    installation: Installation,
) -> None:
    """R15: the attempt was charged in time, and a conflict makes it read the secret again."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    commit = installation.store.commit
    tried: list[Any] = []

    async def delay_conflict(decision: Any) -> Any:
        if decision.swap and decision.swap.secret is None and not tried:
            tried.append(decision)
            installation.store.commit = commit  # type: ignore[method-assign]
            with pytest.raises(Exception, match="not right"):
                await installation.verify(issued, make_wrong_code(code))
            installation.advance_clock(300 * SECOND_MS)
        return await commit(decision)

    installation.store.commit = delay_conflict  # type: ignore[method-assign,assignment]

    verified = await installation.verify(issued, code)

    assert [True] == [bool(decision) for decision in tried]
    assert verified.require_challenge().verified_at is not None


async def test_an_end_that_the_attempt_charge_finds_is_stored(installation: Installation) -> None:
    """R15, R81: the deadline passes between the read and the charge, and the clock is set back."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    fetch = installation.store.fetch_challenge

    async def fetch_in_time(tenant: str, challenge_id: str) -> Any:
        snapshot = await fetch(tenant, challenge_id)
        if installation.clock_shift_ms == 0:
            installation.advance_clock(300 * SECOND_MS)
        return snapshot

    installation.store.fetch_challenge = fetch_in_time  # type: ignore[method-assign]

    with pytest.raises(ChallengeExpired):
        await installation.verify(issued, code)

    assert 0 == installation.hasher.hash_count - 1
    stored = await fetch("shop", installation.get_challenge_id(issued))
    assert (5, True) == (
        stored.require_challenge().attempts_left,
        stored.require_challenge().has_expired,
    )


async def hold_until_both_charged(installation: Installation) -> None:
    """Let two verifies compare only once both are charged."""
    barrier, compute_argon2id = asyncio.Barrier(2), installation.hasher.compute_argon2id

    async def wait_and_compute(code: str, salt: bytes, **more: Any) -> bytes:
        await barrier.wait()
        return await compute_argon2id(code, salt, **more)

    installation.hasher.compute_argon2id = wait_and_compute  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("keys", [("k", "k"), (None, None), ("k", "other")], ids=str)
async def test_a_right_code_that_lost_the_race_is_no_failure(
    installation: Installation, keys: tuple[str | None, str | None]
) -> None:
    """R17: the second call is a repeat or a replay; in both cases its charges are refunded."""
    issued = await installation.issue(account="u-81")
    code = installation.router.extract_code()
    await hold_until_both_charged(installation)

    answers = await gather_results(*(installation.verify(issued, code, key=k) for k in keys))

    failed = [answer for answer in answers if isinstance(answer, Exception)]
    assert [ChallengeAlreadyVerified] * (keys != ("k", "k")) == [type(one) for one in failed]
    assert [] == await installation.list_keys("*:limit:Fail*")
    assert [] == await installation.list_keys("*:limit:Consecutive*")


async def use_up_failures(installation: Installation) -> None:
    """Charge every failure that the number has in an hour."""
    bucket = Bucket(Limit.FAILURES_NUMBER, "shop", PHONE.canonical)
    used_up = Charge(bucket, DEFAULT_LIMITS[Limit.FAILURES_NUMBER], cost=10, force=True)
    partition = installation.store.get_number_partition(PHONE.canonical)
    await installation.store.commit(
        Commit(partition=partition, operation_id="failures", charges=(used_up,))
    )


async def test_an_unlock_admits_attempts_again(installation: Installation) -> None:
    """R18: the failures of the hour are reset, and not the consecutive ones alone."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    await use_up_failures(installation)
    with pytest.raises(RateLimited):
        await installation.verify(issued, code)

    await installation.service.numbers.unlock_number(installation.build_caller(), PHONE)

    await installation.verify(issued, code)


async def test_an_extra_message_is_charged_to_every_bucket(installation: Installation) -> None:
    """R26: a provider that may have sent and one that did cost two messages."""
    installation.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)

    issued = await installation.issue(account="u-81", client_ip="203.0.113.9")

    for limit in (Limit.SENDS_TENANT, Limit.SENDS_ACCOUNT, Limit.SENDS_COUNTRY):
        (key,) = await installation.list_keys(f"*:limit:{limit}:*")
        (packed,) = await installation.script_client.read_each([key.decode()], "GET")
        *tats, _ = msgspec.msgpack.decode(packed)
        window = DEFAULT_LIMITS[limit][0]
        units = (tats[0] - issued.now) / (window.period_seconds * SECOND_MS / window.count)
        assert 1 < units <= 2, limit


async def test_a_repeat_writes_so_that_wait_has_something_to_wait_for(
    installation: Installation,
) -> None:
    """R79: WAIT counts the writes of its own connection, and a repeat has another one."""
    issued = await installation.issue()
    commit = Commit(
        partition=int(installation.get_challenge_id(issued)[1:3]),
        operation_id="again",
        events=(Attempted(id="1"),),
    )
    await installation.store.commit(commit)
    key = installation.store.key_names.operation_key(commit.partition, "again")
    client: Any = installation.script_client
    written = [("INFO", "replication")]
    (before,) = await client.run_pipeline(key, written)

    await installation.store.commit(commit)

    (after,) = await client.run_pipeline(key, written)
    offsets = [int(re.findall(rb"master_repl_offset:(\d+)", info)[0]) for info in (before, after)]
    assert offsets[0] < offsets[1] or offsets == [0, 0]  # without a replica Redis 7 counts nothing
    assert await client.read_from(await client.find_master(key), "PTTL", key) <= 60 * SECOND_MS


async def test_a_full_log_starts_no_hash(installation: Installation) -> None:
    """R73: an issue is refused before it costs anything; R85: an attempt too."""
    issued = await installation.issue()
    limits = msgspec.structs.replace(
        installation.store._log_limits, max_stream_entries=1, has_archive=True
    )
    installation.store._log_limits = limits

    with pytest.raises(StoreUnavailable):
        await installation.issue("+447400123457")
    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, installation.router.extract_code())

    assert 1 == installation.hasher.hash_count


@pytest.mark.parametrize("call", ["unlock", "forget"])
async def test_during_a_rotation_the_earlier_buckets_are_deleted_durably(
    installation: Installation, call: str
) -> None:
    """R79: a failover must not bring back the failures under the earlier limit key."""
    (earlier,) = installation.keys.limit
    rotated = msgspec.structs.replace(
        installation.keys, limit=KeyRing((Key("2", b"2" * 32), earlier))
    )
    both = installation.restart(keys=rotated)
    key = both.store.bucket_keys(Bucket(Limit.FAILURES_NUMBER, "shop", PHONE.canonical))[1:]
    durable: list[str] = []
    run_script = ScriptClient.run_script

    class RecordsDurable(LosesItsReplicas):
        async def run_script(self, *arguments: Any, **options: Any) -> Any:
            if options.get("durable"):
                durable.extend(arguments[1])
            return await run_script(installation.script_client, *arguments)

    client = RecordsDurable(installation.script_client, 100)
    both.store.client = client
    both.dependencies.number_registry._client = client  # type: ignore[attr-defined]

    await NUMBER_CALLS[call](both)

    assert set(key) <= set(durable)


async def test_a_conflict_of_records_decides_nothing(installation: Installation) -> None:
    """Neither helper knows how to decide again on a newer record: the caller has to."""
    store = installation.store
    partition = store.get_account_partition("shop", "u-81")
    swap = RecordSwap(RecordName("authenticator", "shop", "id"), 7, b"state", 2**52)
    commit = Commit(partition=partition, operation_id="one", record_swaps=(swap,))

    with pytest.raises(StoreUnavailable):
        await commit_once(store, commit)
    with pytest.raises(StoreUnavailable):
        await commit_with_retry(store, ChallengeSnapshot(0, None, None), lambda _: commit)
