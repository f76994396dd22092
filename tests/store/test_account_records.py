"""Records about accounts: read in the step that charges, and swapped by one of all callers."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.core import charges
from otp_service.core.commit import (
    Commit,
    Committed,
    Locked,
    RecordConflict,
    RecordName,
    RecordSwap,
    StoredRecord,
)
from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.core.events import (
    AuthenticatorAttempted,
    AuthenticatorDenied,
    AuthenticatorVerified,
)
from otp_service.core.factor import Factor
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import Bucket, Charge, Limit, LimitRefusal
from otp_service.store.account_records import AccountRecords, RecordContent, RecordFloor
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.redis_store import RedisStore
from tests.installation import HOUR_MS, MINUTE_MS, Installation, gather_results
from tests.store import redis_servers
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy


ACCOUNT = "u-81"
STATE = RecordName("authenticator", "shop", "0f" * 16)
ANSWER = RecordName("answer", "shop", "/v1/authenticators/verify key-1")
PARALLEL_CALLS = 30


class AccountScenario:
    """The records and buckets of one account, with the commits of a factor."""

    def __init__(self, script_client: ScriptClient, **changes: Any) -> None:
        self.installation = Installation(script_client, **changes)
        self.partition = self.store.get_account_partition("shop", ACCOUNT)
        self.now = 0

    @property
    def store(self) -> RedisStore:
        return self.installation.store

    def build_charges(self, factor: Factor = Factor.AUTHENTICATOR) -> tuple[Charge, Charge]:
        tenant = self.installation.tenants["shop"]
        return charges.build_factor_failure_charges(tenant, factor, ACCOUNT)

    async def commit(self, operation_id: str | None = None, **fields: Any) -> Any:
        operation_id = operation_id or secrets.token_hex(8)
        commit = Commit(partition=self.partition, operation_id=operation_id, **fields)
        outcome = await self.store.commit(commit)
        self.now = getattr(outcome, "now", self.now)
        return outcome

    async def attempt(self, operation_id: str | None = None, **fields: Any) -> Any:
        """Charge an attempt, and read the state and the answer."""
        fields.setdefault("charges", self.build_charges())
        event = AuthenticatorAttempted(id=secrets.token_hex(8), tenant="shop")
        fields = {"reads": (STATE, ANSWER), "events": (event,), **fields}
        return await self.commit(operation_id, **fields)

    async def accept(
        self, old_version: int, body: bytes, *, ttl_ms: int = 10 * MINUTE_MS, **fields: Any
    ) -> Any:
        """Store a state, as a right code does."""
        if not self.now:
            self.now, _ = await self.store.get_record(self.partition, STATE)
        swap = RecordSwap(STATE, old_version, body, self.now + ttl_ms)
        event = AuthenticatorVerified(id=secrets.token_hex(8), tenant="shop")
        return await self.commit(record_swaps=(swap,), events=(event,), **fields)

    async def store_versions(self, count: int) -> None:
        for version in range(count):
            outcome = await self.accept(version, b"%d" % (version + 1))
            assert isinstance(outcome, Committed), outcome

    @property
    def state_key(self) -> str:
        return self.store.key_names.account_record_key(self.partition, STATE)

    async def read_raw(self, key: str = "") -> bytes:
        key = key or self.state_key
        (value,) = await self.store.client.run_pipeline(key, [("GET", key)])
        assert isinstance(value, bytes)
        return value

    async def restore(self, value: bytes) -> None:
        """Write an earlier value of the state, as an attacker with write access to Redis."""
        await self.store.client.run_pipeline(self.state_key, [("SET", self.state_key, value)])

    def seal(self, version: int, body: bytes) -> bytes:
        content = RecordContent(self.now + HOUR_MS, body)
        return self.store.cipher.seal_record(
            self.state_key, version, msgspec.msgpack.encode(content)
        )

    async def run_command(self, *command: Any) -> None:
        await self.store.client.run_pipeline(self.state_key, [command])

    @property
    def log_key(self) -> str:
        return self.store.key_names.event_log_keys(self.partition)[0]


@pytest.fixture
def scenario(script_client: ScriptClient) -> AccountScenario:
    """Return an account on each kind of Redis in turn."""
    return AccountScenario(script_client)


def get_body(record: StoredRecord | None) -> bytes | None:
    return None if record is None else record.body


# ----------------------------------------------------------------------------- swaps and reads


async def test_one_of_thirty_swaps_at_once_wins(scenario: AccountScenario) -> None:
    """Every other caller gets the record that won, and appends no event."""
    await scenario.store_versions(1)

    outcomes = await asyncio.gather(
        *(scenario.accept(1, b"winner %d" % i) for i in range(PARALLEL_CALLS))
    )

    won = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Committed)]
    assert 1 == len(won)
    lost = [outcome for outcome in outcomes if isinstance(outcome, RecordConflict)]
    assert PARALLEL_CALLS - 1 == len(lost)
    assert {b"winner %d" % won[0]} == {get_body(outcome.records[0]) for outcome in lost}
    verified = (await scenario.installation.list_event_types()).count("authenticator.verified")
    assert 2 == verified


async def test_the_first_of_thirty_records_wins(scenario: AccountScenario) -> None:
    """Version 0 expects that nothing is stored."""
    outcomes = await asyncio.gather(*(scenario.accept(0, b"x") for _ in range(PARALLEL_CALLS)))

    assert 1 == sum(isinstance(outcome, Committed) for outcome in outcomes)


async def test_the_read_and_the_charge_are_one_step(scenario: AccountScenario) -> None:
    """The count that a commit returns orders all commits; each reads what those before it stored."""
    charge = msgspec.structs.replace(scenario.build_charges()[0], force=True)
    stored_at: dict[int, int] = {}
    read_at: dict[int, int] = {}

    async def write_states() -> None:
        for version in range(PARALLEL_CALLS):
            outcome = await scenario.accept(version, b"x", charges=(charge,))
            stored_at[outcome.consecutive_failures] = version + 1

    async def read_states() -> None:
        for _ in range(PARALLEL_CALLS):
            outcome = await scenario.attempt(charges=(charge,))
            record = outcome.records[0]
            read_at[outcome.consecutive_failures] = record.version if record else 0

    await asyncio.gather(write_states(), *(read_states() for _ in range(4)))

    for count, version in read_at.items():
        assert version == max((v for at, v in stored_at.items() if at < count), default=0)


async def test_several_swaps_apply_all_or_none(scenario: AccountScenario) -> None:
    """The state and the answer: a conflict in one of them changes neither."""
    await scenario.store_versions(2)
    expires_at = scenario.now + MINUTE_MS

    for state_version, answer_version in ((1, 0), (2, 1)):
        swaps = (
            RecordSwap(STATE, state_version, b"new", expires_at),
            RecordSwap(ANSWER, answer_version, b"answer", expires_at),
        )
        outcome = await scenario.commit(record_swaps=swaps)
        assert isinstance(outcome, RecordConflict)
        assert [b"2", None] == [get_body(record) for record in outcome.records]

    swaps = (
        RecordSwap(STATE, 2, b"new", expires_at),
        RecordSwap(ANSWER, 0, b"answer", expires_at),
    )
    assert isinstance(await scenario.commit(record_swaps=swaps), Committed)
    attempt = await scenario.attempt()
    assert [(3, b"new"), (1, b"answer")] == [(r.version, r.body) for r in attempt.records]
    assert {expires_at} == {record.expires_at for record in attempt.records}


async def test_a_commit_returns_the_records_before_its_own_swaps(scenario: AccountScenario) -> None:
    await scenario.store_versions(1)

    outcome = await scenario.accept(1, b"2", reads=(STATE,))

    assert [b"1"] == [get_body(record) for record in outcome.records]


async def test_a_record_is_deleted_when_it_expires(scenario: AccountScenario) -> None:
    """A record that would have expired already is not stored."""
    await scenario.accept(0, b"1", ttl_ms=400)
    await scenario.accept(1, b"2", ttl_ms=400)
    await asyncio.sleep(0.6)

    _, record = await scenario.store.get_record(scenario.partition, STATE)
    assert record is None
    attempt = await scenario.attempt()
    assert (None, None) == attempt.records
    assert isinstance(await scenario.accept(0, b"1"), Committed)
    assert isinstance(await scenario.accept(1, b"2", ttl_ms=0), Committed)
    assert (await scenario.attempt()).records[0] is None


async def test_a_refused_commit_swaps_nothing(scenario: AccountScenario) -> None:
    """Neither a record nor a bucket changes, and no record is returned."""
    for _ in range(5):
        assert isinstance(await scenario.attempt(), Committed)

    refused = await scenario.accept(0, b"1", charges=scenario.build_charges())

    assert isinstance(refused, LimitRefusal)
    assert Limit.AUTHENTICATOR_FAILURES is refused.limit
    _, record = await scenario.store.get_record(scenario.partition, STATE)
    assert record is None
    assert isinstance(await scenario.accept(0, b"1"), Committed)


async def test_a_record_is_sealed(scenario: AccountScenario) -> None:
    """R11: a copy of Redis shows no body, and no id of a token or key of a caller."""
    await scenario.accept(0, b"plain-state")
    await scenario.commit(
        record_swaps=(RecordSwap(ANSWER, 0, b"plain-answer", scenario.now + MINUTE_MS),)
    )
    await scenario.attempt("again")

    for key in await scenario.installation.list_keys():
        assert not any(word in key for word in (b"key-1", b"0f0f", ACCOUNT.encode()))
    operation_key = scenario.store.key_names.operation_key(scenario.partition, "again")
    values = [await scenario.read_raw(key) for key in (scenario.state_key, operation_key)]
    assert not any(b"plain-" in value for value in values)


async def test_an_altered_record_is_tampering(scenario: AccountScenario) -> None:
    """A changed bit, a record of another authenticator, and a body of another kind."""
    await scenario.store_versions(1)
    value = await scenario.read_raw()
    other_key = scenario.store.key_names.account_record_key(scenario.partition, ANSWER)
    sealed = scenario.store.cipher.seal_record
    forged = (
        value[:20] + bytes([value[20] ^ 1]) + value[21:],
        sealed(other_key, 1, msgspec.msgpack.encode((1, b"x"))),
        sealed(scenario.state_key, 1, b"not msgpack"),
    )

    for value in forged:
        await scenario.restore(value)
        for call in (
            scenario.attempt(),
            scenario.accept(7, b"x"),
            scenario.store.get_record(scenario.partition, STATE),
        ):
            with pytest.raises(StoreTampered):
                await call


# -------------------------------------------------------------------------------- lost replies


async def test_a_repeated_commit_returns_the_records_of_the_first(
    scenario: AccountScenario,
) -> None:
    """R83: it does not read what was stored meanwhile, and charges nothing again."""
    await scenario.store_versions(1)
    first = await scenario.attempt("one")
    await scenario.accept(1, b"2")

    again = await scenario.attempt("one")

    assert first == again
    assert (b"1", None) == tuple(get_body(record) for record in again.records)
    assert b"2" == get_body((await scenario.attempt()).records[0])


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    """A bad network in front of an empty server."""
    redis_servers.flush_server(server)
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.mark.parametrize("failure", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
async def test_a_lost_reply_changes_nothing(proxy: FaultyProxy, failure: ConnectionFailure) -> None:
    """R83: the attempt is charged once, and the swap of the same call wins once."""
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as client:
        scenario = AccountScenario(client)
        await scenario.store_versions(1)
        proxy.fail_next(failure, b"authenticator.attempted", times=2)
        attempt = await scenario.attempt()
        proxy.fail_next(failure, b"authenticator.verified", times=2)
        accepted = await scenario.accept(1, b"2")

        assert (1, b"1") == (attempt.consecutive_failures, get_body(attempt.records[0]))
        assert isinstance(accepted, Committed)
        types = await scenario.installation.list_event_types()

    assert 4 == proxy.failed_count
    assert ["authenticator.attempted", "authenticator.verified"] == types[-2:]


# --------------------------------------------------------------------------------------- epochs


async def test_an_epoch_begins_with_the_first_read(scenario: AccountScenario) -> None:
    """Also without an event; later commits return the same instant."""
    before, _ = await scenario.store.get_record(scenario.partition, STATE)

    first = await scenario.commit(reads=(STATE,))
    second = await scenario.attempt()

    assert before <= first.epoch <= first.now <= second.now
    assert first.epoch == second.epoch
    entries = await scenario.installation.read_events()
    assert ["log.epoch", "authenticator.attempted"] == [entry["type"] for entry in entries]
    assert {str(first.epoch).encode()} == {entry["epoch"] for entry in entries}


async def test_an_emptied_redis_begins_another_epoch(scenario: AccountScenario) -> None:
    """What was accepted before it may be lost, and the epoch says so."""
    first = await scenario.attempt()
    for master in await scenario.store.client.list_masters():
        await scenario.store.client.read_from(master, "FLUSHALL")
    await asyncio.sleep(0.01)

    second = await scenario.attempt()

    assert first.now < second.epoch <= second.now


async def test_a_restarted_redis_begins_another_epoch(tmp_path: Path) -> None:
    """Its records are kept, and the last ones may be missing."""
    epochs, bodies = [], []
    keys = None
    for _ in range(2):
        with redis_servers.start_server(tmp_path) as server:
            async with ScriptClient(create_redis_lines(url=server.url)) as client:
                scenario = AccountScenario(client, keys=keys)
                keys = scenario.installation.keys
                outcome = await scenario.attempt()
                epochs.append(outcome.epoch)
                bodies.append(get_body(outcome.records[0]))
                await scenario.accept(len(epochs) - 1, b"state")

    assert epochs[0] < epochs[1]
    assert [None, b"state"] == bodies


# ------------------------------------------------------------------------------------ rollbacks


async def test_a_restored_record_is_tampering(scenario: AccountScenario) -> None:
    """An attacker with write access to Redis would otherwise use a code again."""
    await scenario.store_versions(1)
    earlier = await scenario.read_raw()
    await scenario.accept(1, b"2")

    await scenario.restore(earlier)

    with pytest.raises(StoreTampered):
        await scenario.attempt()
    with pytest.raises(StoreTampered):
        await scenario.store.get_record(scenario.partition, STATE)
    with pytest.raises(StoreTampered):  # between the attempt and its success
        await scenario.accept(2, b"3")


async def test_a_record_that_was_only_read_is_remembered(
    scenario: AccountScenario, script_client: ScriptClient
) -> None:
    """Another process stored it."""
    keys = scenario.installation.keys
    reader = AccountScenario(script_client, keys=keys)
    await scenario.store_versions(1)
    earlier = await scenario.read_raw()
    await scenario.accept(1, b"2")
    assert b"2" == get_body((await reader.attempt()).records[0])

    await scenario.restore(earlier)

    with pytest.raises(StoreTampered):
        await reader.attempt()


async def test_a_record_that_was_stored_again_after_its_end_is_no_alarm(
    scenario: AccountScenario,
) -> None:
    """It begins with version 1."""
    for version in range(3):
        await scenario.accept(version, b"x", ttl_ms=300)
    await asyncio.sleep(0.5)

    await scenario.accept(0, b"again")

    assert b"again" == get_body((await scenario.attempt()).records[0])


async def test_an_emptied_redis_is_no_alarm(scenario: AccountScenario) -> None:
    """Its new epoch declares the loss."""
    await scenario.store_versions(3)
    await asyncio.sleep(0.01)
    for master in await scenario.store.client.list_masters():
        await scenario.store.client.read_from(master, "FLUSHALL")
    other = AccountScenario(scenario.store.client, keys=scenario.installation.keys)

    await other.accept(0, b"again")

    _, record = await scenario.store.get_record(scenario.partition, STATE)
    assert b"again" == get_body(record)
    assert b"again" == get_body((await scenario.attempt()).records[0])
    await scenario.accept(1, b"last")
    await scenario.restore(other.seal(1, b"again"))
    with pytest.raises(StoreTampered):
        await scenario.attempt()


async def test_a_record_that_only_one_answer_lacks_is_no_alarm(scenario: AccountScenario) -> None:
    """The master has it: another server answered, and nothing is decided on its answer."""
    await scenario.store_versions(2)
    records = AccountRecords(scenario.store.key_names, scenario.store.cipher)
    epoch = (await scenario.attempt()).epoch
    floors = (RecordFloor(2, scenario.now + HOUR_MS, epoch, epoch),)

    with pytest.raises(StoreUnavailable) as error:
        await records.check_versions(
            scenario.store.client,
            (scenario.state_key,),
            (StoredRecord(1, b"1"),),
            floors,
            scenario.now + 1,
        )
    assert "another server has answered with an old record" == error.value.cause


async def test_an_epoch_that_an_attacker_sets_hides_no_rollback(
    scenario: AccountScenario,
) -> None:
    """One from before the version was seen is no reason for a lower version."""
    await scenario.store_versions(1)
    earlier = await scenario.read_raw()
    await scenario.accept(1, b"2")
    await scenario.restore(earlier)

    await scenario.run_command("HSET", scenario.log_key, "epoch", scenario.now - HOUR_MS)

    with pytest.raises(StoreTampered):
        await scenario.attempt()


async def test_an_old_record_of_a_replica_is_no_alarm(tmp_path: Path) -> None:
    """A server that was replaced answers reads; nothing is decided on its answer."""
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
            scenario = AccountScenario(one)
            await scenario.store_versions(1)
            await one.run_pipeline("", [("WAIT", 1, 5000)])
            earlier = await scenario.read_raw()
            await scenario.accept(1, b"2")
            await other.run_pipeline("", [("WAIT", 0, 1)])
            scenario.store.client = other
            await other.run_pipeline("", [("CONFIG", "SET", "replica-read-only", "no")])
            await scenario.restore(earlier)

            with pytest.raises(StoreUnavailable) as error:
                await scenario.store.get_record(scenario.partition, STATE)
            assert "a replica has answered with an old record" == error.value.cause


# ---------------------------------------------------------------------- the limits of a factor


async def test_a_locked_factor_refuses_with_its_event(scenario: AccountScenario) -> None:
    """R18, R20: after the hundredth failure in a row; the event names the reason and the limit."""
    consecutive, failures = scenario.build_charges()
    await scenario.commit(charges=(msgspec.structs.replace(consecutive, cost=100, force=True),))
    denied = AuthenticatorDenied(id="denied", tenant="shop")

    outcome = await scenario.commit(charges=(consecutive, failures), event_if_refused=denied)

    assert Locked(Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES) == outcome
    assert "account-locked" == outcome.to_error().problem_type
    (event,) = [e for e in await scenario.installation.read_events() if e["id"] == "denied"]
    assert ("account_locked", "ConsecutiveAuthenticatorFailuresPerAccount") == (
        event["reason"],
        event["limit"],
    )
    check = charges.build_factor_lock_check(
        scenario.installation.tenants["shop"], Factor.AUTHENTICATOR, ACCOUNT
    )
    assert isinstance(await scenario.commit(charges=(check,)), Locked)


async def test_a_locked_factor_locks_no_other_factor(scenario: AccountScenario) -> None:
    """An attacker who fails at one factor does not keep the owner from another one."""
    consecutive, _ = scenario.build_charges()
    await scenario.commit(charges=(msgspec.structs.replace(consecutive, cost=100, force=True),))

    outcome = await scenario.commit(charges=scenario.build_charges(Factor.RECOVERY_CODE))

    assert isinstance(outcome, Committed)
    tenant = scenario.installation.tenants["shop"]
    sms = charges.build_account_lock_check(tenant, ACCOUNT)
    commit = Commit(
        partition=scenario.store.get_bucket_partition(sms.bucket), operation_id="s", charges=(sms,)
    )
    assert isinstance(await scenario.store.commit(commit), Committed)


async def test_an_unlock_resets_the_factor(scenario: AccountScenario) -> None:
    """Its buckets are all in the partition of the account."""
    consecutive, _ = scenario.build_charges()
    await scenario.attempt()
    await scenario.commit(charges=(msgspec.structs.replace(consecutive, cost=99, force=True),))
    buckets = charges.list_account_lock_buckets("shop", ACCOUNT, Factor.AUTHENTICATOR)
    assert {scenario.partition} == {scenario.store.get_bucket_partition(b) for b in buckets}

    await scenario.commit(reset_buckets=buckets)

    assert 1 == (await scenario.attempt()).consecutive_failures
    assert [] == await scenario.installation.list_keys("*:limit:RecoverySets*")


# ------------------------------------------------------------------------------------- rotation


async def test_a_rotation_of_the_limit_key_loses_no_state(scenario: AccountScenario) -> None:
    """Workers at two steps of a rotation run at once, and one of thirty swaps wins.

    The count of consecutive failures is that under both keys.
    """
    keys = scenario.installation.keys
    old, new = keys.limit.current, Key("2", os.urandom(32))
    steps = [
        AccountScenario(scenario.store.client, keys=msgspec.structs.replace(keys, limit=ring))
        for ring in (KeyRing((old, new)), KeyRing((new, old)), KeyRing((new,)))
    ]
    await scenario.store_versions(1)
    await scenario.attempt()

    version = 1
    for before, after in zip((scenario, *steps), steps, strict=False):
        calls = [worker.accept(version, b"step %d" % version) for worker in (before, after) * 15]
        outcomes = await gather_results(*calls)
        assert 1 == sum(isinstance(outcome, Committed) for outcome in outcomes)
        version += 1
        attempt = await after.attempt(charges=())
        assert version == attempt.records[0].version

    counts = [(await step.attempt()).consecutive_failures for step in steps]
    assert [2, 3, 2] == counts  # the last worker knows the new key only


async def test_an_unlock_during_a_rotation_resets_both_counts(scenario: AccountScenario) -> None:
    """Otherwise an account would be locked again by failures that an operator has reset."""
    keys = scenario.installation.keys
    ring = KeyRing((Key("2", os.urandom(32)), keys.limit.current))
    used = AccountScenario(scenario.store.client, keys=msgspec.structs.replace(keys, limit=ring))
    await scenario.attempt()
    assert 2 == (await used.attempt()).consecutive_failures

    buckets = charges.list_account_lock_buckets("shop", ACCOUNT, Factor.AUTHENTICATOR)
    await used.commit(reset_buckets=buckets)

    assert 1 == (await scenario.attempt()).consecutive_failures


def test_the_partition_of_an_account_depends_on_the_tenant(scenario: AccountScenario) -> None:
    """64 partitions; accounts are spread over them."""
    store = scenario.store
    partitions = {store.get_account_partition("shop", f"u-{i}") for i in range(1000)}

    assert set(range(64)) == partitions
    assert any(
        store.get_account_partition("shop", f"u-{i}")
        != store.get_account_partition("bank", f"u-{i}")
        for i in range(8)
    )
    bucket = Bucket(Limit.RECOVERY_SETS, "shop", ACCOUNT)
    assert scenario.partition == store.get_bucket_partition(bucket)
