"""Callers whose replies from Redis are unique, and books of what they were charged.

    storm = Storm(script_client, masters, callers=300, seed=1)
    await storm.run(canceled=100)
    await storm.assert_books_balanced()

Each caller makes one call at a time, and its consecutive failures have a count of its own range. So
a reply shows whose it is, and whether an earlier charge of this caller was applied twice.
"""

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from otp_service.core.commit import Commit, Committed
from otp_service.core.errors import StoreUnavailable
from otp_service.core.events import Attempted, EpochStarted
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.connector import CLIENT_NAME
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from tests.installation import generate_keys
from tests.store import redis_servers


COUNTS_PER_CALLER = 1000
"""The range of the consecutive failures of one caller; it makes fewer charges."""

MAX_CALLERS = 10_000
"""Of one storm. The callers of two storms differ if their seeds do."""

MIXED_CALLS = ("charge", "read", "charge_twice", "read_many", "charge")
DURABLE_CALLS = ("charge_durably", "read", "charge_durably", "read_many", "charge_durably")
SOME_DURABLE_CALLS = ("charge_durably", "read", "charge", "charge_twice", "charge_durably")
"""The methods of a caller that it calls in a storm, in an order of its own."""

LARGE_BYTES = 300_000

CANCEL_PROBABILITY = 0.5
"""That a caller is canceled after a reply to another one. Replies are counted and not time, so that
every machine cancels at as many points."""

PATIENCE_SECONDS = 60.0
"""Seconds for which a patient caller repeats a call."""


class WrongReplyError(AssertionError):
    """A reply that is not the caller's own, or that shows a charge too many."""


class StormCaller:
    """One caller; its calls raise WrongReplyError for a reply that cannot be its own."""

    def __init__(self, store: RedisStore, index: int, partition: int, *, is_patient: bool) -> None:
        self.store, self.index, self.partition = store, index, partition
        self.key = f"{{{partition:02d}}}:storm:{index}"
        self.value = f"value-{index}".encode()
        self.confirmed: list[str] = []
        """The operation ids of commits that were answered."""
        self.unknown: list[str] = []
        """Those of which the caller knows nothing: it was canceled or refused."""
        self.refused_count = 0
        self._is_patient = is_patient
        self._first_count = (index + 1) * COUNTS_PER_CALLER
        subject = f"caller-{index}"
        self.buckets = {
            limit: Bucket(limit, "shop", subject)
            for limit in (Limit.CONSECUTIVE_FAILURES, Limit.FAILURES_NUMBER)
        }

    async def charge(self, *, durable: bool = False) -> None:
        """Charge both buckets once."""
        commit = self._build_commit(durable=durable)
        self.unknown.append(commit.operation_id)
        outcome = await self._repeat_if_patient(lambda: self.store.commit(commit))
        self._confirm(commit, outcome)

    async def charge_durably(self) -> None:
        await self.charge(durable=True)

    async def charge_twice(self) -> None:
        """Charge both buckets in each of two commits of one round trip."""
        commits = [self._build_commit(), self._build_commit(offset=1)]
        self.unknown += [commit.operation_id for commit in commits]
        # In a cluster the two run concurrently, so that either may be the first.
        outcomes = await self._repeat_if_patient(lambda: self.store.commit_all(commits))
        counts = sorted(self._get_count(outcome) for outcome in outcomes)
        expected = [self._first_count + len(self.confirmed) + i for i in (1, 2)]
        if counts != expected:
            raise WrongReplyError(f"{self.index}: {counts}, not {expected}")
        self.confirmed += [commit.operation_id for commit in commits]
        del self.unknown[-2:]

    async def read(self) -> None:
        """Read the caller's value by a script."""
        _, value = await self._repeat_if_patient(lambda: self.store.read_values((self.key,)))
        self._check(value, self.value)

    async def read_many(self) -> None:
        """Read the caller's value by commands."""
        commands: Sequence[Any] = [("GET", self.key), ("STRLEN", self.key)]
        calls = [(self.key, commands), (self.key, [("TIME",)])]
        client = self.store.client
        (value, size), _ = await self._repeat_if_patient(lambda: client.read_many(calls))
        self._check((value, size), (self.value, len(self.value)))

    async def echo_much(self) -> None:
        """Read LARGE_BYTES, which is more than a connection takes at once."""
        text = self.value * (LARGE_BYTES // len(self.value))
        run = partial(self.store.client.repeat_commands, self.key, [("ECHO", text)])
        self._check(await self._repeat_if_patient(run), [text])

    def _build_commit(self, *, offset: int = 0, durable: bool = False) -> Commit:
        number = len(self.confirmed) + len(self.unknown) + offset
        # As those of the service it begins differently for each operation.
        operation_id = hashlib.sha256(f"{self.index}-{number}".encode()).hexdigest()[:32]
        windows = (Window(COUNTS_PER_CALLER, 86_400),)
        return Commit(
            partition=self.partition,
            operation_id=operation_id,
            charges=tuple(
                Charge(bucket, windows, force=True, initial_count=self._first_count)
                for bucket in self.buckets.values()
            ),
            events=(Attempted(id=operation_id),),
            durable=durable,
        )

    async def _repeat_if_patient(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await call()
                except StoreUnavailable:
                    self.refused_count += 1
                    if not self._is_patient:
                        raise
                    await asyncio.sleep(0.05)  # Redis does not announce that it is back

    def _confirm(self, commit: Commit, outcome: object) -> None:
        expected = self._first_count + len(self.confirmed) + 1
        self._check(self._get_count(outcome), expected)
        self.confirmed.append(commit.operation_id)
        self.unknown.remove(commit.operation_id)

    def _get_count(self, outcome: object) -> int:
        if not isinstance(outcome, Committed):
            raise WrongReplyError(f"{self.index}: {outcome!r}")
        return outcome.consecutive_failures

    def _check(self, actual: object, expected: object) -> None:
        if actual != expected:
            raise WrongReplyError(f"{self.index}: {actual!r}, not {expected!r}")


class Storm:
    """Many callers at once, of which some are canceled."""

    def __init__(  # noqa: PLR0913  # each of them is chosen by some test
        self,
        client: ScriptClient,
        masters: Sequence[EmbeddedServer],
        *,
        callers: int,
        seed: int,
        partitions: Sequence[int] = range(64),
        is_patient: bool = False,
    ) -> None:
        """A patient caller repeats a call that is refused."""
        keys = generate_keys()
        names, cipher = KeyNames(keys.limit.current), RecordCipher(keys, os.urandom)
        store = RedisStore(client, names, cipher, epoch_event=EpochStarted(id="epoch"))
        self.callers = [
            StormCaller(store, i, partitions[i % len(partitions)], is_patient=is_patient)
            for i in range(seed * MAX_CALLERS, seed * MAX_CALLERS + callers)
        ]
        self.canceled_count = 0
        self.masters = masters
        """The servers that have the data when the books are read."""
        self._progress = asyncio.Event()
        self._generator = random.Random(seed)  # noqa: S311  # the same sequence in every run

    async def store_values(self) -> None:
        """Store what callers read, on a client that is not that of the storm."""
        async with self._connect() as client:
            for caller in self.callers:
                await client.run_pipeline(caller.key, [("SET", caller.key, caller.value)])

    def _connect(self) -> ScriptClient:
        options = redis_servers.build_connect_options(self.masters)
        return ScriptClient(create_redis_lines(**options, timeout_ms=10_000))

    async def run(self, *, canceled: int = 0, calls: Sequence[str] = MIXED_CALLS) -> None:
        """Run these calls of each caller, and cancel so many callers at random points.

        Fails with what wrong replies and refused calls raised.
        """
        await self.store_values()
        await self.run_calls(canceled=canceled, calls=calls)

    async def run_calls(self, *, canceled: int = 0, calls: Sequence[str] = MIXED_CALLS) -> None:
        """Run calls as `run` does, without storing the values first."""
        tasks = [asyncio.create_task(self._run_caller(each, calls)) for each in self.callers]
        await self._cancel_some(tasks, canceled)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        raised = Counter(repr(o) for o in outcomes if isinstance(o, Exception))
        wrong = [outcome for outcome in outcomes if isinstance(outcome, AssertionError)]
        assert not wrong, f"{len(wrong)} wrong replies, such as {wrong[:3]}"
        assert not raised, f"calls were refused: {raised.most_common(3)}"

    async def _cancel_some(self, tasks: Sequence[asyncio.Task[None]], count: int) -> None:
        for task in tasks:
            task.add_done_callback(lambda _: self._progress.set())
        while self.canceled_count < count:
            await self._progress.wait()
            self._progress.clear()
            pending = [task for task in tasks if not task.done()]
            if not pending:
                return
            if self._generator.random() < CANCEL_PROBABILITY:
                self.canceled_count += self._generator.choice(pending).cancel()

    async def _run_caller(self, caller: StormCaller, calls: Sequence[str]) -> None:
        for name in self._generator.sample(calls, len(calls)):
            await getattr(caller, name)()
            self._progress.set()

    async def wait_for_confirmed(self, count: int) -> None:
        """Wait until so many more commits were answered."""
        goal = self._count_confirmed() + count
        while self._count_confirmed() < goal:  # noqa: ASYNC110  # many tasks count them
            await asyncio.sleep(0)

    def _count_confirmed(self) -> int:
        return sum(len(caller.confirmed) for caller in self.callers)

    @property
    def refused_count(self) -> int:
        """How many calls were refused with 503."""
        return sum(caller.refused_count for caller in self.callers)

    async def assert_books_balanced(self) -> None:
        """Assert that each answered commit was applied once, and each other one at most once.

        The client of the storm, and its proxy, must be closed.
        """
        await asyncio.gather(*(_wait_until_abandoned(master) for master in self.masters))
        async with self._connect() as client:
            events = await self._count_events(client)
            for caller in self.callers:
                await _assert_charged_once(client, caller, events)

    async def _count_events(self, client: ScriptClient) -> Counter[str]:
        names = self.callers[0].store.key_names
        counts: Counter[str] = Counter()
        for partition in sorted({caller.partition for caller in self.callers}):
            key = names.event_log_keys(partition)[1]
            (entries,) = await client.repeat_commands(key, [("XRANGE", key, "-", "+")])
            counts.update(_find_event_id(fields) for _, fields in entries)
        return counts


async def _assert_charged_once(
    client: ScriptClient, caller: StormCaller, events: Counter[str]
) -> None:
    names = caller.store.key_names
    counter, bucket = (names.bucket_key(caller.partition, b) for b in caller.buckets.values())
    commands = [("HGET", counter, "count"), ("GET", bucket)]
    count, stored = await client.repeat_commands(counter, commands)
    size = len(msgspec.msgpack.decode(stored)[::2]) if stored else 0
    applied = [id_ for id_ in caller.unknown if events[id_]]
    assert max((events[id_] for id_ in (*caller.confirmed, *caller.unknown)), default=0) <= 1
    assert all(events[id_] for id_ in caller.confirmed), "an answered commit has no event"
    expected = len(caller.confirmed) + len(applied)
    assert (int(count or 0), size) == (expected, expected), f"caller {caller.index}"


def _find_event_id(fields: Sequence[bytes]) -> str:
    body = dict(zip(fields[::2], fields[1::2], strict=True))[b"event"]
    return body.decode().partition('"id":"')[2].partition('"')[0]


async def _wait_until_abandoned(server: EmbeddedServer) -> None:
    """Wait until the server has closed each connection of the service, with all it was sent."""
    with redis_servers.open_client(server) as admin:
        async with asyncio.timeout(20):
            while any(  # noqa: ASYNC110  # it announces nothing
                each["name"] == CLIENT_NAME for each in admin.client_list()
            ):
                await asyncio.sleep(0.01)
