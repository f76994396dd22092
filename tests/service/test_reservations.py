"""A caller that its own bucket refuses reserves nothing that other callers share.

Four workers with clients of their own share one Redis. A refused client repeats a call on four
connections for each, while another caller uses the same number.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import Commit, CommitOutcome, Undone
from otp_service.core.errors import NumberLocked, NumberNotAllowed, OtpError, RateLimited
from otp_service.core.limits import DEFAULT_LIMITS, Limit, LimitTable, Window
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import Store
from otp_service.core.tenant_share import apply_share
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import HOUR_MS, Installation, gather_results, make_wrong_code
from tests.store import redis_servers


NUMBER = "+447400123456"
CLIENT: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
WORKERS, CONNECTIONS, LEGITIMATE_CALLS = 4, 4, 30

UNLIMITED = (Window(100_000, 3600),)
CALLER_SEND_LIMITS = (Limit.SENDS_ADDRESS, Limit.SENDS_ACCOUNT, Limit.SENDS_TENANT)
CALLER_FAILURE_LIMITS = (Limit.FAILURES_ADDRESS, Limit.FAILURES_ACCOUNT)


def set_limits(installation: Installation, limits: LimitTable, tenant: str = "shop") -> None:
    installation.tenants[tenant] = msgspec.structs.replace(
        installation.tenants[tenant], limits={**DEFAULT_LIMITS, **limits}
    )


class RecordingStore:
    """Forwards calls to a store, and records the limits that each commit that ran charges.

    It also records of each commit that refunds whether it waits for the replicas.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.charged_limits: list[Limit] = []
        self.durable_refunds: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, commit: Commit) -> CommitOutcome:
        self._record(commit)
        return await self._store.commit(commit)

    async def commit_together(self, commits: Sequence[Commit]) -> list[CommitOutcome | Undone]:
        outcomes = await self._store.commit_together(commits)
        for commit, outcome in zip(commits, outcomes, strict=True):
            if not isinstance(outcome, Undone):
                self._record(commit)
        return outcomes

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        for commit in commits:
            self._record(commit)
        return await self._store.commit_all(commits)

    def _record(self, commit: Commit) -> None:
        self.charged_limits += [c.bucket.limit for c in commit.charges if c.cost]
        if commit.refunds:
            self.durable_refunds.append(commit.durable)


@pytest.fixture
async def workers(server: EmbeddedServer) -> AsyncIterator[list[Installation]]:
    """Return four workers of one installation; each has its own connections to one Redis."""
    redis_servers.flush_server(server)
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000))
            )
            for _ in range(WORKERS + 1)
        ]
        first = Installation(clients[0])
        yield [first, *(Installation(client, first.keys) for client in clients[1:])]


@contextlib.asynccontextmanager
async def hammer(calls: Sequence[Callable[[], Awaitable[Any]]]) -> AsyncIterator[list[Exception]]:
    """Repeat each call without a pause on four connections; yield what they raise."""
    errors: list[Exception] = []

    async def repeat(call: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await call()
            except OtpError as error:
                errors.append(error)

    tasks = [asyncio.create_task(repeat(call)) for call in calls for _ in range(CONNECTIONS)]
    try:
        await asyncio.sleep(0.05)
        yield errors
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def advance_clocks(workers: list[Installation], milliseconds: int) -> None:
    for worker in workers:
        worker.advance_clock(milliseconds)


@pytest.mark.parametrize("limit", CALLER_SEND_LIMITS)
async def test_a_refused_client_takes_no_issue_from_another_tenant(
    workers: list[Installation], limit: Limit
) -> None:
    """30 of 30 issues of another tenant pass while the client is refused on 16 connections."""
    for worker in workers:
        set_limits(worker, {limit: (Window(1, 90 * 86400),)})
        free = (Limit.SENDS_NUMBER_TENANT, Limit.SENDS_NUMBER)
        set_limits(worker, dict.fromkeys(free, UNLIMITED), "bank")
    bank, *attacked = workers
    await bank.issue("+447400999999", **CLIENT)
    calls = [partial(worker.issue, NUMBER, **CLIENT) for worker in attacked]

    async with hammer(calls) as errors:
        for _ in range(LEGITIMATE_CALLS):
            advance_clocks(workers, 31_000)
            await bank.issue(NUMBER, tenant="bank")
            await asyncio.sleep(0.002)

    assert LEGITIMATE_CALLS <= len(errors)
    assert {limit} == {error.limit for error in errors if isinstance(error, RateLimited)}
    assert all(isinstance(error, RateLimited) for error in errors)


async def test_a_refused_guesser_takes_no_attempt_from_the_owner_of_the_number(
    workers: list[Installation],
) -> None:
    """The failures of the number are not reserved for an address that has used up its own."""
    limits = dict.fromkeys((Limit.SENDS_NUMBER_TENANT, Limit.SENDS_NUMBER), UNLIMITED)
    limits[Limit.FAILURES_ADDRESS] = (Window(1, 90 * 86400),)
    limits[Limit.FAILURES_NUMBER] = (Window(3, 3600),)
    for worker in workers:
        set_limits(worker, limits)
    owner, *attacked = workers
    guessed = await owner.issue("+447400999999")
    wrong = make_wrong_code(owner.router.extract_code())
    with pytest.raises(OtpError):
        await owner.verify(guessed, wrong, client_ip="203.0.113.9")
    for _ in range(8):
        advance_clocks(workers, HOUR_MS)
        challenge = await owner.issue(NUMBER)
        code = owner.router.extract_code()
        advance_clocks(workers, 31_000)
        other = await owner.issue(NUMBER)
        calls = [
            partial(worker.verify, other, "000000", client_ip=CLIENT["client_ip"])
            for worker in attacked
        ]
        async with hammer(calls):
            verified = await owner.verify(challenge, code)
            assert verified.require_challenge().verified_at


@pytest.mark.parametrize("limit", CALLER_SEND_LIMITS)
async def test_a_send_that_the_caller_s_bucket_refuses_charges_no_other_bucket(
    workers: list[Installation], limit: Limit
) -> None:
    """No commit charges the number, its prefix, its country or the whole service, for a moment."""
    worker = workers[0]
    set_limits(worker, {limit: (Window(1, 3600),)})
    issued = await worker.issue(NUMBER, **CLIENT)
    worker.advance_clock(31_000)
    store = RecordingStore(worker.store)
    recording = worker.restart(store=store)
    set_limits(recording, {limit: (Window(1, 3600),)})

    answers = await gather_results(
        recording.issue("+447400999999", **CLIENT), recording.resend(issued)
    )

    assert [limit] * 2 == [answer.limit for answer in answers]
    assert set(CALLER_SEND_LIMITS) == set(store.charged_limits)


@pytest.mark.parametrize("limit", CALLER_FAILURE_LIMITS)
async def test_an_attempt_that_the_caller_s_bucket_refuses_charges_no_other_bucket(
    workers: list[Installation], limit: Limit
) -> None:
    """Neither the challenge nor its number loses an attempt, and a refusal is one event."""
    worker = workers[0]
    set_limits(worker, {limit: (Window(1, 3600),)})
    issued = await worker.issue(NUMBER, **CLIENT)
    code = worker.router.extract_code()
    with pytest.raises(OtpError):
        await worker.verify(issued, make_wrong_code(code), client_ip=CLIENT["client_ip"])
    store = RecordingStore(worker.store)
    recording = worker.restart(store=store)
    set_limits(recording, {limit: (Window(1, 3600),)})

    with pytest.raises(RateLimited) as refusal:
        await recording.verify(issued, code, client_ip=CLIENT["client_ip"])

    assert limit == refusal.value.limit
    assert {
        *CALLER_FAILURE_LIMITS,
        Limit.FAILURES_TENANT,
        Limit.CONSECUTIVE_FAILURES_ACCOUNT,
    } == set(store.charged_limits)
    denied = (await worker.read_events())[-1]
    assert ("otp.verify_denied", "rate_limited", limit) == (
        denied["type"],
        denied["reason"],
        denied["limit"],
    )
    challenge = (
        await worker.store.fetch_challenge("shop", worker.get_challenge_id(issued))
    ).require_challenge()
    assert 4 == challenge.attempts_left


async def test_a_refusal_of_the_caller_s_bucket_is_recorded_in_the_partition_of_the_number(
    workers: list[Installation],
) -> None:
    worker = workers[0]
    set_limits(worker, {Limit.SENDS_ADDRESS: (Window(1, 3600),)})
    await worker.issue("+447400999999", **CLIENT)

    with pytest.raises(RateLimited):
        await worker.issue(NUMBER, **CLIENT)

    partition = worker.store.get_number_partition(NUMBER)
    _, _, refusals, *_ = worker.store.key_names.event_log_keys(partition)
    command = ("XRANGE", refusals, "-", "+")
    (((_, fields),),) = await worker.script_client.run_pipeline(refusals, [command])
    assert b"otp.issue_denied" in fields[fields.index(b"event") + 1]


async def test_a_lock_and_a_block_are_reported_before_a_limit_of_the_caller(
    workers: list[Installation],
) -> None:
    """The contract's order: number-not-allowed, then number-locked, then rate-limited."""
    worker = workers[0]
    limits = {
        Limit.SENDS_ADDRESS: (Window(1, 3600),),
        Limit.FAILURES_ADDRESS: (Window(1, 3600),),
        Limit.CONSECUTIVE_FAILURES: (Window(1, 90 * 86400),),
    }
    set_limits(worker, limits)
    issued = await worker.issue(NUMBER, **CLIENT)
    wrong = make_wrong_code(worker.router.extract_code())
    with pytest.raises(OtpError):
        await worker.verify(issued, wrong, client_ip=CLIENT["client_ip"])

    with pytest.raises(NumberLocked):
        await worker.issue(NUMBER, **CLIENT)
    with pytest.raises(NumberLocked):
        await worker.verify(issued, wrong, client_ip=CLIENT["client_ip"])
    await worker.service.numbers.block_number(worker.build_caller(), parse_number(NUMBER))
    with pytest.raises(NumberNotAllowed):
        await worker.issue(NUMBER, **CLIENT)


async def test_a_refusal_of_the_number_refunds_the_caller(workers: list[Installation]) -> None:
    """Every charge of a refused send or attempt is refunded, whichever bucket refuses it."""
    worker = workers[0]
    set_limits(worker, {Limit.FAILURES_NUMBER: (Window(1, 3600),)})
    issued = await worker.issue(NUMBER, **CLIENT)
    wrong = make_wrong_code(worker.router.extract_code())
    with pytest.raises(OtpError):
        await worker.verify(issued, wrong, client_ip=CLIENT["client_ip"])
    before = await read_caller_buckets(worker)

    with pytest.raises(RateLimited):
        await worker.issue(NUMBER, **CLIENT)
    with pytest.raises(RateLimited):
        await worker.verify(issued, wrong, client_ip=CLIENT["client_ip"])

    assert before == await read_caller_buckets(worker)


@pytest.mark.parametrize(
    "limit", [Limit.SENDS_NUMBER, Limit.SENDS_PREFIX, Limit.SENDS_COUNTRY, Limit.SENDS_OVERALL]
)
async def test_the_refunds_of_a_refused_send_wait_for_the_replicas(
    workers: list[Installation], limit: Limit
) -> None:
    """R79: else a master that is being replaced refunds, and the next one keeps the charge."""
    worker = workers[0]
    store = RecordingStore(worker.store)
    recording = worker.restart(store=store)
    set_limits(recording, {limit: (Window(1, 3600),)})
    issued = await recording.issue(NUMBER, **CLIENT)
    worker.advance_clock(31_000)  # the store's clock

    for send in (partial(recording.issue, NUMBER, **CLIENT), partial(recording.resend, issued)):
        with pytest.raises(RateLimited) as refusal:
            await send()
        assert limit == refusal.value.limit

    assert store.durable_refunds
    assert all(store.durable_refunds)


async def test_the_refunds_of_a_refused_verify_wait_for_the_replicas(
    workers: list[Installation],
) -> None:
    """R79, for the charges of the caller where the number refuses."""
    worker = workers[0]
    store = RecordingStore(worker.store)
    recording = worker.restart(store=store)
    set_limits(recording, {Limit.FAILURES_NUMBER: (Window(1, 3600),)})
    issued = await recording.issue(NUMBER, **CLIENT)
    wrong = make_wrong_code(recording.router.extract_code())
    client_ip = CLIENT["client_ip"]
    with pytest.raises(OtpError):
        await recording.verify(issued, wrong, client_ip=client_ip)
    store.durable_refunds.clear()

    with pytest.raises(RateLimited) as refusal:
        await recording.verify(issued, wrong, client_ip=client_ip)

    assert Limit.FAILURES_NUMBER == refusal.value.limit
    assert [True] == store.durable_refunds


async def read_caller_buckets(installation: Installation) -> dict[bytes, Any]:
    """Return the charges or the theoretical arrival times of every bucket of a caller."""
    client = installation.script_client
    keys = await installation.list_keys("*:limit:*PerClientAddress:*")
    keys += await installation.list_keys("*:limit:SendsPerAccount:*")
    keys += await installation.list_keys("*:limit:SendsPerTenant:*")
    tats = await client.read_each([key.decode() for key in keys], "GET")
    exact = await installation.list_keys("*:limit:FailuresPerAccount:*")
    instants = await client.read_each([key.decode() for key in exact], "GET")
    decoded = [msgspec.msgpack.decode(packed)[:-1] for packed in tats]
    units = [msgspec.msgpack.decode(packed) for packed in instants if packed]
    return dict(zip([*keys, *exact], [*decoded, *units], strict=True))


@pytest.mark.parametrize(
    ("share", "shared"),
    [
        (Limit.SENDS_COUNTRY_TENANT, Limit.SENDS_COUNTRY),
        (Limit.SENDS_PREFIX_TENANT, Limit.SENDS_PREFIX),
        (Limit.SENDS_TENANT, Limit.SENDS_OVERALL),
    ],
)
async def test_one_tenant_cannot_exhaust_what_others_share(
    workers: list[Installation], share: Limit, shared: Limit
) -> None:
    """A tenant has half of a prefix, a country and the whole service; the rest is for others."""
    worker = workers[0]
    limits = apply_share({**DEFAULT_LIMITS, shared: (Window(6, 3600),)}, (), percent=50)
    set_limits(worker, limits)
    set_limits(worker, limits, "bank")
    numbers = [f"+44740012345{i}" for i in range(8)]
    answers = await gather_results(*map(worker.issue, numbers))

    refused = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert [share] * 5 == [answer.limit for answer in refused]
    for number in numbers[:3]:
        await worker.issue(f"{number[:-2]}9{number[-1]}", tenant="bank")
    with pytest.raises(RateLimited):
        await worker.issue("+447400123499", tenant="bank")
